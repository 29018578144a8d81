/** modules/http: a name that is exchanged for a link to the outside while it is asked for. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { OLD_SECONDS, StaticFolder } from "../../support/static-fixture";
import { exchanging } from "../../support/exchanger";

// Of one length, and longer than the ranges asked for.
const OUTSIDE = "OUTSIDE";
const INSIDE = "inside-";
const REST = "0123456789".repeat(10);
/** Each kind is over when both sides were met this often. */
const ENOUGH = 200;
const MOST_REQUESTS = 10_000;

/** A way in which the site comes to a name. */
interface Way {
  readonly what: string;
  /** Below the folder: it leads now inside, now outside. */
  readonly name: string;
  readonly leadsTo: "file" | "folder";
  /** The requested paths. */
  readonly target: string;
  readonly headers?: Record<string, string>;
  readonly config?: Record<string, unknown>;
}

const NOTHING_KEPT = { cacheBytes: 0 };
const STREAMED = { cacheFileBytes: 0 };
const GZIP = { "accept-encoding": "gzip" };
const WAYS: Way[] = [
  { what: "a file", name: "a.txt", leadsTo: "file", target: "/a.txt", config: NOTHING_KEPT },
  { what: "a file that is kept", name: "a.txt", leadsTo: "file", target: "/a.txt" },
  { what: "a streamed file", name: "a.txt", leadsTo: "file", target: "/a.txt", config: STREAMED },
  {
    what: "a range of a streamed file",
    name: "a.txt",
    leadsTo: "file",
    target: "/a.txt",
    headers: { range: "bytes=0-6" },
    config: STREAMED,
  },
  {
    what: "several ranges",
    name: "a.txt",
    leadsTo: "file",
    target: "/a.txt",
    headers: { range: "bytes=0-6,8-9" },
    config: STREAMED,
  },
  { what: "a folder in the path", name: "d", leadsTo: "folder", target: "/d/file.txt", config: NOTHING_KEPT },
  { what: "a folder's index", name: "d", leadsTo: "folder", target: "/d/", config: NOTHING_KEPT },
  { what: "a folder without its slash", name: "d", leadsTo: "folder", target: "/d", config: NOTHING_KEPT },
  {
    what: "a listing",
    name: "d",
    leadsTo: "folder",
    target: "/d/",
    config: { ...NOTHING_KEPT, index: "none.html", listing: true },
  },
  {
    what: "the page of an application",
    name: "app.html",
    leadsTo: "file",
    target: "/deep",
    config: { ...NOTHING_KEPT, fallback: "app.html" },
  },
  {
    what: "the page for what is missing",
    name: "404.html",
    leadsTo: "file",
    target: "/none.txt",
    config: NOTHING_KEPT,
  },
  {
    what: "a compressed file beside a file",
    name: "b.txt.gz",
    leadsTo: "file",
    target: "/b.txt",
    headers: GZIP,
    config: NOTHING_KEPT,
  },
  {
    what: "a file that is compressed here",
    name: "a.txt",
    leadsTo: "file",
    target: "/a.txt",
    headers: GZIP,
    config: { ...STREAMED, compressMinBytes: 1 },
  },
];

describe("a name that is swapped for a link to the outside during a request", () => {
  for (const way of WAYS) {
    test(`never leads there: ${way.what}`, async () => {
      using folder = new StaticFolder();
      using outside = new OutsideFolder();
      folder.put("b.txt", INSIDE + REST);
      for (const name of ["inside.txt", "in/index.html", "in/file.txt", `in/${INSIDE}.txt`])
        folder.put(name, INSIDE + REST);
      const targets = way.leadsTo === "file" ? ["inside.txt", join(outside.path, "secret.txt")] : ["in", outside.path];
      const site = await folder.site(way.config ?? {});
      const seen = { inside: 0, refused: 0 };
      await using _ = await exchanging(join(folder.root, way.name), targets);
      for (let count = 0; count < MOST_REQUESTS && (seen.inside < ENOUGH || seen.refused < ENOUGH); count++) {
        const response = await site(way.target, way.headers);
        const text = await textOf(response);
        expect(text).not.toContain(OUTSIDE);
        // For a compressed file of the outside the plain one beside it is sent.
        const isInside = way.name.endsWith(".gz")
          ? response.headers.has("content-encoding")
          : text.includes(INSIDE) || response.status === 308;
        if (isInside) seen.inside++;
        else seen.refused++;
      }
      expect(Math.min(seen.inside, seen.refused)).toBeGreaterThan(0);
    });
  }
});

/** Files that only a fault could serve. Files of a folder have names that say so. */
class OutsideFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "hrmr-outside-"));

  constructor() {
    for (const name of ["secret.txt", "index.html", "file.txt", `${OUTSIDE}.txt`]) {
      writeFileSync(join(this.path, name), OUTSIDE + REST);
      utimesSync(join(this.path, name), OLD_SECONDS, OLD_SECONDS);
    }
    mkdirSync(join(this.path, "in"));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** @returns "" when the body broke off: the name had changed since the head was made */
async function textOf(response: Response): Promise<string> {
  try {
    const bytes = await response.bytes();
    const isCoded = response.headers.get("content-encoding") === "gzip" && bytes[0] === 0x1f;
    return Buffer.from(isCoded ? gunzipSync(bytes) : bytes).toString();
  } catch {
    return "";
  }
}
