/** Scopes, tokens and their file, without a server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ListenAddress, parseListen } from "../../src/config/listen";
import { AccessControl } from "../../src/hub/access/access-control";
import { Guesses } from "../../src/hub/access/guesses";
import { KnownTokens } from "../../src/hub/access/known-tokens";
import { allows, scopeMistake } from "../../src/hub/access/scopes";
import { mustHaveToken } from "../../src/hub/access/start";
import { readTokens, writeTokens } from "../../src/hub/access/token-file";
import { expiryOf, hashOf, makeToken, nameMistake, type TokenRecord } from "../../src/hub/access/tokens";
import type { Client } from "../../src/module/contract";
import { ANONYMOUS, NOT_VALID } from "../../src/module/session";
import { until } from "../support/until";

describe("a scope", () => {
  test.each([
    "rpc:accounts.get",
    "rpc:accounts.*",
    "rpc:*",
    "rpc:*.get",
    "rpc:acc*",
    "events:user.*",
    "events:größe.x",
    "store:scores:read",
    "store:*:read",
    "app:reports",
    "http",
    "admin",
  ])("is %s", (text) => expect(scopeMistake(text)).toBeNull());

  test.each([
    ["", '"" is not a scope: it begins with none of rpc, events, store, http, admin, app'],
    ["*", "it begins with none of rpc"],
    ["rcp:x", "Did you mean rpc"],
    ["rpc", '"rpc" names nothing: write rpc:accounts.*, or rpc:* for all'],
    ["rpc:", "names nothing"],
    ["http:x", '"http:x" is not a scope: write http alone'],
    ["rpc:a b", "a space, a comma"],
    ["rpc:a,rpc:b", "a space, a comma"],
    ["rpc:a\u0000", "a control character"],
    ["rpc:a..b", "a name in it is empty"],
    ["rpc:.a", "a name in it is empty"],
    ["store:a:", "a name in it is empty"],
    ["rpc:a*b", "* stands for a whole name"],
    ["rpc:a*.b", "* stands for a whole name"],
    ["rpc:**", "* stands for a whole name"],
    [`rpc:${"a".repeat(300)}`, "at most 256 characters"],
  ])("is not %j", (text, why) => expect(scopeMistake(text)).toContain(why));

  test.each([
    ["rpc:accounts.get", "rpc:accounts.get", true],
    ["rpc:accounts.get", "rpc:accounts.getAll", false],
    ["rpc:accounts.get", "rpc:accounts", false],
    ["rpc:accounts.*", "rpc:accounts.get", true],
    ["rpc:accounts.*", "rpc:accounts.admin.drop", true],
    ["rpc:accounts.*", "rpc:accounts", false],
    ["rpc:accounts.*", "rpc:accounts.", false],
    ["rpc:accounts.*", "rpc:accountsX.get", false],
    ["rpc:acc*", "rpc:accounts.get", true],
    ["rpc:acc*", "rpc:acc", true],
    ["rpc:acc*", "rpc:ac", false],
    ["rpc:*", "rpc:a.b.c", true],
    ["rpc:*", "events:a", false],
    ["rpc:*", "rpc:", false],
    ["rpc:*.get", "rpc:accounts.get", true],
    ["rpc:*.get", "rpc:a.b.get", false],
    ["rpc:*.get", "rpc:.get", false],
    ["store:*:read", "store:scores:read", true],
    ["store:*:read", "store:scores:write", false],
    ["store:*:read", "store:a:b:read", false],
    // A subscription to many topics needs a scope that covers them all.
    ["events:user.*", "events:user.*", true],
    ["events:user.created", "events:user.*", false],
    ["events:user.a.*", "events:user.*", false],
    ["events:*.a", "events:*", false],
    ["http", "http", true],
    ["http", "https", false],
    ["admin", "http", false],
    ["rpc:a.b", "rpc:a:b", false],
  ])("%s on %s: %p", (scope, action, isAllowed) => expect(allows(scope, action)).toBe(isAllowed));
});

describe("a token", () => {
  test("has 256 random bits behind its prefix, and no other is like it", () => {
    const [one, other] = [makeToken(), makeToken()];
    expect(one).toMatch(/^hrmr_[\w-]{43}$/);
    expect(one).not.toBe(other);
    expect(hashOf(one)).toHaveLength(32);
  });

  test("is over after a span, or on a date that is to come", () => {
    const now = Date.UTC(2026, 10, 29, 12);
    const over = (text: string) => expiryOf(text, now)?.toISOString() ?? null;
    expect(over("30d")).toBe("2026-12-29T12:00:00.000Z");
    expect(over("45m")).toBe("2026-11-29T12:45:00.000Z");
    expect(over("2w")).toBe("2026-12-13T12:00:00.000Z");
    expect(over("2027-01-31")).toBe("2027-01-31T00:00:00.000Z");
    expect(over("2027-01-31T10:00:00+01:00")).toBe("2027-01-31T09:00:00.000Z");
    for (const wrong of ["0d", "30", "d", "-1d", "2026-11-28", "2027-02-31x", "tomorrow", "999999w", ""])
      expect([wrong, over(wrong)]).toEqual([wrong, null]);
  });

  test("has a plain name, which is no token", () => {
    for (const name of ["bob", "bot-1", "a.b@c_d", "0"]) expect(nameMistake(name)).toBeNull();
    for (const name of ["", "-a", ".a", "a b", "ä", "a\n", "x".repeat(65)])
      expect(nameMistake(name)).toContain("cannot be a token's name");
    const token = makeToken();
    expect(nameMistake(token)).not.toContain(token);
  });
});

let folder: string;
let files = 0;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), "hrmr-tokens-"))));
afterAll(() => rmSync(folder, { recursive: true }));

const newFile = (): string => join(folder, `tokens-${files++}`, "tokens.json");

function recordOf(name: string, token: string, scopes: string[], expires: string | null = null): TokenRecord {
  return { name, hash: hashOf(token).toString("hex"), scopes, created: "2026-11-29T00:00:00.000Z", expires };
}

describe("the tokens' file", () => {
  test("comes back as it was written, closed to others, and without a token in it", () => {
    const file = newFile();
    const token = makeToken();
    const records = [recordOf("bob", token, ["http"]), recordOf("ann", makeToken(), ["rpc:*"], "2027-01-01T00:00:00Z")];
    expect(readTokens(file)).toEqual([]);
    writeTokens(file, records);
    expect(readTokens(file)).toEqual(records);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(file, "..")).mode & 0o777).toBe(0o700);
  });

  test("is refused when others may read it, with what to do", () => {
    const file = newFile();
    writeTokens(file, []);
    chmodSync(file, 0o644);
    expect(() => readTokens(file)).toThrow(/may be read or written by others than its owner \(mode 644\)/);
  });

  const one = recordOf("bob", "x", ["http"]);
  test.each([
    ["nonsense", "is not JSON"],
    ["{}", 'holds no { "version": 1'],
    ['{ "version": 2, "tokens": [] }', 'holds no { "version": 1'],
    [JSON.stringify({ version: 1, tokens: [7] }), "tokens[0]: name must be a text"],
    [JSON.stringify({ version: 1, tokens: [{ ...one, name: "a b" }] }), "tokens[0]: "],
    [JSON.stringify({ version: 1, tokens: [{ ...one, hash: "abc" }] }), "hash must be 64 hexadecimal digits"],
    [JSON.stringify({ version: 1, tokens: [{ ...one, scopes: "http" }] }), "scopes must be a list of texts"],
    [JSON.stringify({ version: 1, tokens: [{ ...one, scopes: ["*"] }] }), "it begins with none of rpc"],
    [JSON.stringify({ version: 1, tokens: [{ ...one, created: "x" }] }), "created must be a time"],
    [JSON.stringify({ version: 1, tokens: [{ ...one, expires: 5 }] }), "expires must be a time"],
    [JSON.stringify({ version: 1, tokens: [one, one] }), 'names "bob" twice'],
  ])("is refused: %s", (text, why) => {
    const file = newFile();
    writeTokens(file, []);
    writeFileSync(file, text);
    expect(() => readTokens(file)).toThrow(why);
  });
});

describe("a start without a token", () => {
  const refusal = (required: "auto" | boolean, url: string, guards: string[], hasToken = false) => {
    try {
      mustHaveToken({ required, listen: [parseListen(url) as ListenAddress], guards, hasToken });
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  };

  test("is refused where other machines come in, for what it guards or if it must", () => {
    expect(refusal("auto", "tcp://0.0.0.0:1", ["procedures", "events"])).toBe(
      "tcp://0.0.0.0:1 can be reached from other machines, and there is no token that their clients could show (procedures, events).",
    );
    expect(refusal("auto", "tls://[::]:1", ["procedures"])).not.toBeNull();
    expect(refusal(true, "tcp://a.example:1", [])).toContain("(access.required is true)");
  });

  test.each([
    ["auto", "tcp://0.0.0.0:1", [], false],
    ["auto", "tcp://127.0.0.1:1", ["procedures"], false],
    [true, "tcp://localhost:1", ["procedures"], false],
    ["auto", "unix:///x.sock", ["procedures"], false],
    ["auto", "udp://0.0.0.0:1", ["procedures"], false],
    [false, "tcp://0.0.0.0:1", ["procedures"], false],
    ["auto", "tcp://0.0.0.0:1", ["procedures"], true],
  ] as const)("goes on: %p, %s, %p, %p", (required, url, guards, hasToken) =>
    expect(refusal(required, url, [...guards], hasToken)).toBeNull(),
  );
});

const LOCAL: Client = { address: "127.0.0.1", port: 1, transport: "tcp", isLocal: true, connection: 1 };
const REMOTE: Client = { ...LOCAL, address: "192.0.2.1", isLocal: false };

function openAccess(file: string, required: "auto" | boolean = "auto") {
  const said: string[] = [];
  const tokens = new KnownTokens(
    () => file,
    (text) => said.push(text),
  );
  const guesses = new Guesses("a test: a client", { warn: (text: unknown) => void said.push(String(text)) });
  return { said, tokens, control: new AccessControl(() => ({ required, tokensFile: file }), tokens, guesses) };
}

const bearer = (token: string) => new Headers({ authorization: `Bearer ${token}` });

describe("access control", () => {
  test("asks clients of other machines for a token, those of this machine only if they must have one", () => {
    const file = newFile();
    const codes = (required: "auto" | boolean) => {
      const { control } = openAccess(file, required);
      return [LOCAL, REMOTE].map((client) => control.refusalOf(ANONYMOUS, client, "rpc:a.b")?.code ?? "may");
    };
    expect(codes("auto")).toEqual(["may", "UNAUTHENTICATED"]);
    expect(codes(true)).toEqual(["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    expect(codes(false)).toEqual(["may", "may"]);
  });

  test("gives a token its scopes and no more, on this machine too", () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["rpc:accounts.*", "http"])]);
    const { control } = openAccess(file);
    const session = control.authenticate(token, REMOTE);
    if (session instanceof Promise) throw new Error("the token was refused");
    expect(session).toEqual({ identity: "bob", scopes: ["rpc:accounts.*", "http"] });
    expect(control.refusalOf(session, REMOTE, "rpc:accounts.get")).toBeNull();
    for (const client of [LOCAL, REMOTE])
      expect(control.refusalOf(session, client, "rpc:other.get")).toEqual({
        code: "FORBIDDEN",
        status: 403,
        message: 'the token "bob" has no scope for "rpc:other.get"',
      });
  });

  test("forgets a token that is revoked, also for the sessions that it has opened, and sees a new one", async () => {
    const file = newFile();
    const [token, later] = [makeToken(), makeToken()];
    const [bob, ann] = [recordOf("bob", token, ["http"]), recordOf("ann", later, ["http"])];
    writeTokens(file, [bob]);
    const { control } = openAccess(file);
    const session = control.ofRequest(bearer(token), REMOTE, ANONYMOUS);
    expect(control.current(session)).toBe(session);
    writeTokens(file, [bob, ann]);
    await until("the new token is known", () => control.isGood(later, "http"));
    // The same object: nothing has changed for this client.
    expect(control.current(session)).toBe(session);
    writeTokens(file, [ann]);
    await until("the session is over", () => control.current(session) === NOT_VALID);
    expect(control.isGood(token, "http")).toBe(false);
    for (const client of [LOCAL, REMOTE])
      expect(control.refusalOf(session, client, "http")?.message).toBe("the token is not valid any more");
  });

  test("takes a changed scope for the sessions that are open", async () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["rpc:a"])]);
    const { control } = openAccess(file);
    const session = control.ofRequest(bearer(token), REMOTE, ANONYMOUS);
    writeTokens(file, [recordOf("bob", token, ["rpc:b"])]);
    await until("the scope has changed", () => control.refusalOf(session, REMOTE, "rpc:b") === null);
    expect(control.refusalOf(session, REMOTE, "rpc:a")?.code).toBe("FORBIDDEN");
  });

  test("does not know a token that is expired", () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["http"], "2020-01-01T00:00:00.000Z")]);
    const { control, tokens } = openAccess(file);
    expect(control.isGood(token, "http")).toBe(false);
    expect(tokens.hasAny()).toBe(false);
  });

  test("keeps the tokens that it knows while the file cannot be used, and says so once", async () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["http"])]);
    const { control, said } = openAccess(file);
    expect(control.isGood(token, "http")).toBe(true);
    writeFileSync(file, "{");
    await until("the log says so", () => (control.isGood(token, "http"), said.length > 0));
    expect(control.isGood(token, "http")).toBe(true);
    expect(said).toEqual([`The tokens' file ${file} is not JSON. The tokens that were read before stay valid.`]);
  });

  test("leaves the tokens of modules alone, counts wrong ones of its own, and finds one among subprotocols", () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["http"])]);
    const { control, said } = openAccess(file);
    expect(control.ofRequest(bearer("a.module.jwt"), REMOTE, ANONYMOUS)).toBe(ANONYMOUS);
    expect(said).toEqual([]);
    expect(control.ofRequest(bearer(makeToken()), REMOTE, ANONYMOUS)).toBe(NOT_VALID);
    expect(said).toEqual(["a test: a client with a wrong token, the last from 192.0.2.1"]);
    const offered = new Headers({ "sec-websocket-protocol": `chat, hrmr.token.${token}` });
    expect(control.ofRequest(offered, REMOTE, ANONYMOUS).identity).toBe("bob");
  });

  test("answers wrong tokens late, then refuses them at once, and takes a right one all the time", async () => {
    const file = newFile();
    const token = makeToken();
    writeTokens(file, [recordOf("bob", token, ["http"])]);
    const { control } = openAccess(file);
    const wrong = Array.from({ length: 33 }, () => control.admit(bearer("wrong"), REMOTE, ANONYMOUS));
    expect(control.admit(bearer(token), REMOTE, ANONYMOUS)).toMatchObject({ identity: "bob" });
    const [first, ...others] = await Promise.all(wrong);
    expect(first).toEqual({ code: "UNAUTHENTICATED", status: 401, message: "the token is wrong" });
    expect(others.at(-1)).toMatchObject({ code: "TOO_MANY_GUESSES", status: 429 });
  });
});
