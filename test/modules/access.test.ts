/** The shipped access module: which requests pass, and how many lines strangers can cause. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { TOKENS_FILE, writeTokens } from "../../src/hub/access/token-file";
import { hashOf, makeToken, type TokenRecord } from "../../src/hub/access/tokens";
import { withHttp2 } from "../support/http2";
import { type Hub, moduleSource, reuseHubs, withHub } from "../support/hub";
import { talk } from "../support/raw-client";
import { until } from "../support/until";

const reused = reuseHubs();

const TOKEN = "a long random text";
const APP = moduleSource(`{ routes: {
  "GET /secret/*": { fetch: () => new Response("SECRET") },
  "GET /pool": { run: "pool", fetch: () => new Response("SECRET") },
  "GET /open/:name": { fetch: (_, { params }) => new Response("open " + params.name) },
} }`);
const config = (access: object): string => JSON.stringify({ http: { use: ["access"] }, modules: { access } });
const FILES = {
  "modules/app.ts": APP,
  "static_html/favicon.svg": "<svg/>",
  "hrmr.json": config({ tokens: [TOKEN], open: ["/favicon.svg", "/open/café"] }),
};

const REFUSED = [
  "/secret/x",
  "/pool",
  "/secret/\\..\\..\\favicon.svg",
  "/secret/%5c..%5c..%5cfavicon.svg",
  "/secret/..%2f..%2ffavicon.svg",
  "/secret/%2e%2e/%2e%2e/favicon.svg",
  "/secret/../secret/x",
  "/secret/x?/../../favicon.svg",
  "/secret/x#/../../favicon.svg",
  "/secret/favicon.svg",
  "/favicon.svg/../secret/x",
  "/favicon.svg/..%2fsecret/x",
  "/favicon.svg%2f..%2fsecret%2fx",
  "//favicon.svg/secret/x",
  "http://favicon.svg/secret/x",
  "http://a.example/secret/\\..\\favicon.svg",
  "/favicon.svg.",
  "/favicon.svg/",
  "/FAVICON.svg",
];

test("what needs a token is had by no spelling of a path without one, and by its own with one", () =>
  reused(FILES, [], async (hub) => {
    const ask = async (target: string, lines = "") =>
      (await talk(hub.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`))[0];
    for (const target of REFUSED) {
      const reply = await ask(target);
      expect([target, reply?.body.includes("SECRET")]).toEqual([target, false]);
      expect([400, 401, 308]).toContain(reply?.status as number);
      if (reply?.status === 308) expect(await ask(reply.headers.location ?? "")).toMatchObject({ status: 401 });
    }
    await withHttp2(hub.url, async (client) => {
      for (const target of REFUSED.filter((each) => each.startsWith("/"))) {
        expect([target, (await client.ask(target)).body.toString().includes("SECRET")]).toEqual([target, false]);
      }
    });
    for (const target of ["/secret/x", "/pool"]) {
      expect(await ask(target, `Authorization: Bearer ${TOKEN}\r\n`)).toMatchObject({ status: 200, body: "SECRET" });
      expect(await ask(target, `Authorization: Bearer ${TOKEN}x\r\n`)).toMatchObject({ status: 401 });
    }
    expect((await fetch(`${hub.url}/favicon.svg`)).status).toBe(200);
    expect(await (await fetch(`${hub.url}/open/café?x=1`)).text()).toBe("open café");
  }));

/** Sends `count` requests on one connection; resolves with the statuses. */
async function flood(hub: Hub, count: number): Promise<number[]> {
  const request = `GET /secret/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${"A".repeat(128)}\r\n\r\n`;
  const replies = await talk(hub.port, request.repeat(count) + request.replace("Host", "Connection: close\r\nHost"));
  return replies.map(({ status }) => status);
}

test("refusals are one line in the log at once and a number for those that follow, however many come", () =>
  // A server of its own: refusals of another test would be among those that are counted.
  withHub(FILES, [], async (hub) => {
    const statuses = await flood(hub, 2999);
    expect(statuses.filter((status) => status === 401)).toHaveLength(3000);
    // Told when the version ends, at the latest.
    hub.write("hrmr.json", config({ tokens: [TOKEN], open: [] }));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    const counts = (): number[] =>
      [...hub.program.output().matchAll(/ (\d+) more requests? (?:was|were) refused/g)].map(([, count]) =>
        Number(count),
      );
    const lines = (): number => hub.program.output().split("was refused").length - 1;
    // A line that names a request alone, or the last of many.
    const told = (): number => lines() - counts().length + counts().reduce((sum, count) => sum + count, 0);
    await until("every refusal to be told or counted", () => told() === 3000);
    expect(lines()).toBeLessThan(100);
    expect((await fetch(`${hub.url}/secret/x`, { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(200);
  }));

test("a wrong token is refused late, many of one address at once, and a right one is taken meanwhile", () =>
  reused(FILES, [], async (hub) => {
    const statusWith = async (authorization?: string) =>
      (await fetch(`${hub.url}/secret/x`, { headers: authorization === undefined ? {} : { authorization } })).status;
    const startedAt = performance.now();
    const guesses = Array.from({ length: 60 }, (_, at) => statusWith(`Bearer guess-${at}`));
    expect(await statusWith(`Bearer ${TOKEN}`)).toBe(200);
    expect(await statusWith()).toBe(401);
    const statuses = await Promise.all(guesses);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(450);
    expect(statuses.filter((status) => status === 401).length).toBeGreaterThanOrEqual(32);
    expect(new Set([401, ...statuses])).toEqual(new Set(statuses.includes(429) ? [401, 429] : [401]));
  }));

test("tokens of hrmr token with the scope http are good, beside those of the setting, until they are revoked", () =>
  reused(FILES, [], async (hub) => {
    const file = join(hub.dir, "data", TOKENS_FILE);
    const [web, other] = [makeToken(), makeToken()];
    const records = [recordOf("web", web, ["http"]), recordOf("other", other, ["rpc:*"])];
    writeTokens(file, records);
    const statusWith = async (token: string) =>
      (await fetch(`${hub.url}/secret/x`, { headers: { authorization: `Bearer ${token}` } })).status;
    expect(await statusWith(web)).toBe(200);
    expect(await statusWith(TOKEN)).toBe(200);
    expect(await statusWith(other)).toBe(403);
    await hub.program.waitFor('its token "other" has not the scope http');
    writeTokens(file, records.slice(1));
    await until("the revoked token to be refused", async () => (await statusWith(web)) === 401);
    expect(await statusWith(TOKEN)).toBe(200);
  }));

function recordOf(name: string, token: string, scopes: string[]): TokenRecord {
  return { name, hash: hashOf(token).toString("hex"), scopes, created: new Date().toISOString(), expires: null };
}
