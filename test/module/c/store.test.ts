/** Modules in C that use the store. */
import { expect, test } from "bun:test";
import { type BlockingChannel, Unanswered } from "../../../src/host/inside/blocking/channel";
import { BlockingStore } from "../../../src/host/inside/blocking/store";
import { type Hub, shareHub } from "../../support/hub";

/** Does what a line of words says, and writes the outcome as JSON. "-" is NULL. */
const MODULE = `#include "hrmr.h"
static char first[200];
static char *words[40];

static int split(hrmr_request *request) {
  char *rest = NULL, *copy = strdup(request->bytes);
  int count = 0;
  for (char *word = strtok_r(copy, " ", &rest); word != NULL && count < 40; word = strtok_r(NULL, " ", &rest))
    words[count++] = strcmp(word, "-") == 0 ? NULL : word;
  return count;
}

static void tell(hrmr_request *request, hrmr_stored stored) {
  hrmr_reply_format(request, "{\\"ok\\":%s,\\"version\\":%lld,\\"ends\\":%s,\\"json\\":", stored.ok ? "true" : "false",
                    stored.version, stored.expires_at > 0 ? "true" : "false");
  if (stored.json == NULL) hrmr_reply_text(request, "null");
  else hrmr_reply(request, stored.json, stored.length);
  hrmr_reply_text(request, ",\\"code\\":");
  hrmr_reply_json(request, stored.code);
  hrmr_reply_text(request, ",\\"message\\":");
  hrmr_reply_json(request, stored.message);
  hrmr_reply_text(request, "}\\n");
}

static void get(hrmr_request *request) { split(request); tell(request, hrmr_store_get(words[1], words[2])); }
static void set(hrmr_request *request) {
  split(request);
  tell(request, hrmr_store_set(words[1], words[2], words[3], atoi(words[4]), atoi(words[5])));
}
static void delete(hrmr_request *request) { split(request); tell(request, hrmr_store_delete(words[1], words[2], atoi(words[3]))); }
static void increment(hrmr_request *request) {
  split(request);
  tell(request, hrmr_store_increment(words[1], words[2], atof(words[3])));
}
static void list(hrmr_request *request) {
  split(request);
  tell(request, hrmr_store_list(words[1], words[2], words[3], atoi(words[4])));
}
/* Groups of eight words: what collection key json ttl version by field */
static void commit(hrmr_request *request) {
  hrmr_write writes[5];
  int count = (split(request) - 1) / 8, at;
  for (at = 0; at < count; at++) {
    char **word = words + 1 + 8 * at;
    hrmr_write write = {atoi(word[0]), word[1], word[2], word[3], atoi(word[4]), atoi(word[5]), atof(word[6]), word[7]};
    writes[at] = write;
  }
  tell(request, hrmr_store_commit(writes, count));
}
/* Adds to a counter by reading and comparing, until it is done. */
static void add(hrmr_request *request) {
  for (;;) {
    hrmr_stored found = hrmr_store_get("race", "n");
    char next[40];
    snprintf(next, sizeof next, "%d", found.json == NULL ? 1 : atoi(found.json) + 1);
    hrmr_stored done = hrmr_store_set("race", "n", next, HRMR_STAYS, found.version);
    if (done.ok) break;
    if (strcmp(done.code, "CONFLICT") != 0) { hrmr_fail(request, done.message); return; }
  }
  hrmr_reply_text(request, "added\\n");
}
static void many(hrmr_request *request) {
  int at, right = 0;
  for (at = 0; at < 300; at++) {
    hrmr_stored stored = hrmr_store_set("many", "k", "[1,2]", HRMR_STAYS, HRMR_ANY);
    right += stored.ok && strcmp(stored.json, "[1,2]") == 0;
    hrmr_release(stored.json);
  }
  hrmr_reply_format(request, "%d\\n", right);
}
static void odd(hrmr_request *request) { tell(request, hrmr_store_set("c", "\\xff", "1", HRMR_STAYS, HRMR_ANY)); }
static void large(hrmr_request *request) {
  size_t length = atoi(strchr(request->bytes, ' '));
  char *json = malloc(length + 3);
  hrmr_stored stored;
  memset(json, 'x', length + 2);
  json[0] = json[length + 1] = '"';
  json[length + 2] = 0;
  stored = hrmr_store_set("large", "k", json, HRMR_STAYS, HRMR_ANY);
  free(json);
  if (stored.ok) stored = hrmr_store_get("large", "k");
  hrmr_reply_format(request, "%s %d\\n", stored.ok ? "ok" : stored.code, (int)stored.length);
}
static void show_first(hrmr_request *request) { hrmr_reply_format(request, "%s\\n", first); }
static const char *start(const void *handed, size_t length) {
  hrmr_stored stored = hrmr_store_increment("starts", "n", 1);
  snprintf(first + strlen(first), sizeof first - strlen(first), "%s", stored.ok ? stored.json : stored.message);
  return NULL;
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_stored early = hrmr_store_set("c", "early", "1", HRMR_STAYS, HRMR_ANY);
  snprintf(first, sizeof first, "%s ", early.ok ? "?" : early.code);
  hrmr_command(setup, "GET ", HRMR_LINE, get);
  hrmr_command(setup, "SET ", HRMR_LINE, set);
  hrmr_command(setup, "DELETE ", HRMR_LINE, delete);
  hrmr_command(setup, "INCREMENT ", HRMR_LINE, increment);
  hrmr_command(setup, "LIST ", HRMR_LINE, list);
  hrmr_command(setup, "COMMIT ", HRMR_LINE, commit);
  hrmr_command(setup, "ADD", HRMR_LINE, add);
  hrmr_command(setup, "MANY", HRMR_LINE, many);
  hrmr_command(setup, "ODD", HRMR_LINE, odd);
  hrmr_command(setup, "LARGE ", HRMR_LINE, large);
  hrmr_command(setup, "FIRST", HRMR_LINE, show_first);
  hrmr_on_start(setup, start);
}
`;

/** The same store from TypeScript, where a counter is also added to. */
const OTHER = `export default { routes: {
  OTHER: async (_, { store }) => JSON.stringify((await store.collection("c").get("shared")).value) + "\\n",
  RACE: async (_, { store }) => {
    await store.transaction(async (tx) => {
      const race = tx.collection("race");
      await race.set("n", ((await race.get("n"))?.value ?? 0) + 1);
    });
    return "added\\n";
  },
} };`;

const onHub = shareHub({ "modules/native.c": MODULE, "modules/other.ts": OTHER });

interface Outcome {
  readonly ok: boolean;
  readonly version: number;
  readonly ends: boolean;
  readonly json: unknown;
  readonly code: string | null;
  readonly message: string | null;
}

async function ask(hub: Hub, line: string): Promise<Outcome> {
  return JSON.parse(await hub.ask(`${line}\n`));
}

const NOTHING = { ok: true, version: 0, ends: false, json: null, code: null, message: null };

test("C writes, reads and deletes documents, which other modules see", () =>
  onHub(async (hub) => {
    expect(await ask(hub, "GET c shared")).toEqual(NOTHING);
    const set = await ask(hub, 'SET c shared {"a":"gr\u00fc\u00dfe\\n"} 0 -1');
    expect(set).toMatchObject({ ok: true, json: { a: "gr\u00fc\u00dfe\n" }, ends: false, code: null });
    expect(set.version).toBeGreaterThan(0);
    expect(await ask(hub, "GET c shared")).toEqual(set);
    expect(await hub.ask("OTHER\n")).toBe(`${JSON.stringify(set.json)}\n`);
    expect((await ask(hub, "DELETE c shared -1")).version).toBe(set.version + 1);
    expect(await ask(hub, "DELETE c shared -1")).toEqual(NOTHING);
    expect(await ask(hub, "GET c shared")).toEqual(NOTHING);
  }));

test("C writes only over the version that it names", () =>
  onHub(async (hub) => {
    const { version } = await ask(hub, "SET compared k 1 0 0");
    expect(await ask(hub, "SET compared k 2 0 0")).toMatchObject({ ok: false, version: 0, code: "CONFLICT" });
    expect(await ask(hub, `DELETE compared k ${version + 1}`)).toMatchObject({ ok: false, code: "CONFLICT" });
    expect(await ask(hub, `SET compared k 3 0 ${version}`)).toMatchObject({ ok: true, json: 3 });
    expect(await ask(hub, `DELETE compared k ${version}`)).toMatchObject({ ok: false, code: "CONFLICT" });
    expect((await ask(hub, "GET compared k")).json).toBe(3);
  }));

test("C gives a document a time to live, keeps it, and takes it away", () =>
  onHub(async (hub) => {
    expect((await ask(hub, "SET lives k 1 600000 -1")).ends).toBe(true);
    expect((await ask(hub, "INCREMENT lives k 1.5")).ends).toBe(true);
    expect(await ask(hub, "SET lives k 2 -1 -1")).toMatchObject({ json: 2, ends: true });
    expect((await ask(hub, "SET lives k 2 0 -1")).ends).toBe(false);
    expect(await ask(hub, "SET lives k 2 -7 -1")).toMatchObject({ ok: false, code: "INVALID_VALUE" });
  }));

test("C lists documents page by page", () =>
  onHub(async (hub) => {
    for (const key of ["a1", "a2", "b1"]) await ask(hub, `SET listed ${key} "${key}" 0 -1`);
    const page = (await ask(hub, "LIST listed a - 10")).json as Record<string, unknown>[];
    expect(page).toEqual([
      { key: "a1", value: "a1", version: expect.any(Number), expiresAt: null },
      { key: "a2", value: "a2", version: expect.any(Number), expiresAt: null },
    ]);
    expect((await ask(hub, "LIST listed - a1 1")).json).toEqual([page[1]]);
    expect((await ask(hub, "LIST listed - b1 1")).json).toEqual([]);
    expect(await ask(hub, "LIST listed - - 0")).toMatchObject({ ok: false, code: "INVALID_VALUE" });
  }));

test("C commits several writes behind checks, all of them or none", () =>
  onHub(async (hub) => {
    const { version } = await ask(hub, 'SET bank ann {"money":30} 0 -1');
    const move = `COMMIT 1 bank ann - 0 ${version} 0 - 4 bank ann - 0 0 -10 money 4 bank bob - 0 0 10 money`;
    expect(await ask(hub, move)).toMatchObject({
      ok: true,
      version: version + 2,
      json: [null, { version: version + 1, value: { money: 20 } }, { version: version + 2, value: { money: 10 } }],
    });
    expect(await ask(hub, move)).toMatchObject({ ok: false, code: "CONFLICT", json: null });
    const mixed = `COMMIT 1 bank new - 0 0 0 - 2 bank new [] 0 0 0 - 5 bank ann {"money":null,"x":1} 0 0 0 - 3 bank bob - 0 0 0 -`;
    expect((await ask(hub, mixed)).json).toEqual([
      null,
      { version: version + 3 },
      { version: version + 4, value: { x: 1 } },
      { version: version + 5 },
    ]);
    expect((await ask(hub, "LIST bank - - 9")).json).toMatchObject([
      { key: "ann", value: { x: 1 } },
      { key: "new", value: [] },
    ]);
    const half = "COMMIT 2 bank ann 1 0 0 0 - 4 bank new - 0 0 1 -";
    expect(await ask(hub, half)).toMatchObject({ ok: false, code: "NOT_A_NUMBER" });
    expect((await ask(hub, "GET bank ann")).json).toEqual({ x: 1 });
    expect(await ask(hub, "COMMIT ")).toMatchObject({ ok: true, json: [] });
  }));

test("a counter that C and TypeScript compare and set at the same time loses nothing", () =>
  onHub(async (hub) => {
    const all = Array.from({ length: 40 }, (_, at) => hub.ask(at % 2 === 0 ? "ADD\n" : "RACE\n"));
    expect(new Set(await Promise.all(all))).toEqual(new Set(["added\n"]));
    expect((await ask(hub, "GET race n")).json).toBe(40);
  }));

test.each([
  ["a collection without a name", "GET - k", "INVALID_NAME"],
  ["a wrong name of a collection", "GET a/b k", "INVALID_NAME"],
  ["no key", "GET c -", "INVALID_KEY"],
  ["a long key", `GET c ${"k".repeat(1025)}`, "INVALID_KEY"],
  ["no document", "SET c k - 0 -1", "INVALID_VALUE"],
  ["a document that is not JSON", "SET c k {oops 0 -1", "INVALID_VALUE"],
  ["a wrong version", "SET c k 1 0 -5", "INVALID_VALUE"],
  ["a write of no kind", "COMMIT 0 c k 1 0 0 0 -", "INVALID_VALUE"],
  ["an infinite number", "INCREMENT c k inf", "NOT_A_NUMBER"],
  ["a key that is not UTF-8", "ODD", "INVALID_VALUE"],
])("%s is refused with its code, and nothing is written", (_, line, code) =>
  onHub(async (hub) => {
    expect(await ask(hub, line)).toMatchObject({
      ok: false,
      json: null,
      version: 0,
      code,
      message: expect.any(String),
    });
    expect(await ask(hub, "LIST c - - 9")).toMatchObject({ ok: true, json: [] });
  }),
);

test("documents of C come whole up to the limit, and larger ones are refused", () =>
  onHub(async (hub) => {
    expect(await hub.ask("LARGE 900000\n")).toBe("ok 900002\n");
    expect(await hub.ask("LARGE 40000000\n")).toBe("TOO_LARGE 0\n");
    expect(await hub.ask("MANY\n")).toBe("300\n");
  }));

test("C uses the store in start, and not in hrmr_module", () =>
  onHub(async (hub) => {
    expect(await hub.ask("FIRST\n")).toBe("UNAVAILABLE 1\n");
  }));

test("a commit without an answer has the code UNKNOWN if it may have been written", () => {
  const commit = { checks: [], mutations: [] };
  const range = { prefix: "", after: null, limit: 1, reverse: false };
  const given = (hasBegun: boolean): BlockingStore => {
    const ask = (): never => {
      throw new Unanswered("TIMEOUT", "the store did not answer in time", hasBegun);
    };
    return new BlockingStore({ ask } as unknown as BlockingChannel, 1000);
  };
  expect(() => given(true).commit(commit, null)).toThrow(expect.objectContaining({ code: "UNKNOWN" }));
  expect(() => given(false).commit(commit, null)).toThrow(expect.objectContaining({ code: "TIMEOUT" }));
  expect(() => given(true).list("c", range, null)).toThrow(expect.objectContaining({ code: "TIMEOUT" }));
});
