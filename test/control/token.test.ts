/** control.commands "token": who may send the built-in commands from elsewhere. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/config/user-error";
import { TOKENS_FILE, writeTokens } from "../../src/hub/access/token-file";
import { hashOf, makeToken, type TokenRecord } from "../../src/hub/access/tokens";
import { Guesses } from "../../src/hub/access/guesses";
import { CommandToken, findToken, readToken, splitToken } from "../../src/server/token";
import { ask } from "../support/client";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { startProgram } from "../support/program";
import { until } from "../support/until";

const TOKEN = "S3cret-0123456789abcdef";
const OTHER = "another-0123456789abcdef";

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), "hrmr-token-"))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function tokenFile(text: string, mode = 0o600): string {
  const file = join(folder, `${Math.random()}`);
  writeFileSync(file, text, { mode });
  chmodSync(file, mode);
  return file;
}

/** @returns its message and hint, without the file's path */
function refusalOf(file: string): string {
  try {
    readToken(file);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.code).toBe("TOKEN_FILE");
    return `${error.message} ${error.hint}`.replaceAll(file, "FILE");
  }
  return "";
}

describe("a token's file", () => {
  test.each([
    ["with a line end", `${TOKEN}\n`],
    ["with that of other systems", `${TOKEN}\r\n`],
    ["without", TOKEN],
  ])("holds one line, %s", (_, text) => expect(readToken(tokenFile(text))).toBe(TOKEN));

  test.each([
    ["is empty", "", "holds 0 characters, and a token has at least 16"],
    ["holds too few characters", "fifteen-chars-x\n", "holds 15 characters, and a token has at least 16"],
    ["holds two lines", `${TOKEN}\n${OTHER}\n`, "holds more than one line"],
    ["holds a space", "correct horse battery staple\n", "holds a space, or a character that cannot be printed"],
    ["holds what cannot be printed", "0123456789\x00abcdef\n", "holds a space, or a character that cannot be printed"],
    ["is a log", "x".repeat(5000), "is 5000 bytes long, over the 4096 that it may have"],
  ])("that %s is refused, and nothing of it is told", (_, text, what) => {
    const told = refusalOf(tokenFile(text));
    expect(told).toStartWith(`The token file FILE ${what}.`);
    for (const word of ["fifteen", TOKEN, OTHER, "horse", "01234"]) expect(told).not.toContain(word);
  });

  test.each([0o640, 0o604, 0o620, 0o644, 0o666])("of mode %o is refused, with the way to mend it", (mode) => {
    const told = refusalOf(tokenFile(TOKEN, mode));
    expect(told).toBe(
      `The token file FILE may be read or written by others than its owner (mode ${mode.toString(8)}). Do: chmod 600 FILE`,
    );
  });

  test("that is a folder, a pipe or not there is refused at once", () => {
    const dir = join(folder, "dir");
    mkdirSync(dir, { mode: 0o700 });
    expect(refusalOf(dir)).toStartWith("The token file FILE is not a file.");
    const pipe = join(folder, "pipe");
    expect(Bun.spawnSync(["mkfifo", "-m", "600", pipe]).exitCode).toBe(0);
    expect(refusalOf(pipe)).toStartWith("The token file FILE is not a file.");
    expect(refusalOf(join(folder, "none"))).toStartWith(
      "The token file FILE cannot be read (ENOENT). Check the path. Make one: ",
    );
  });

  test("may be named by a link, and it is the file's rights that count", () => {
    const link = join(folder, "link");
    symlinkSync(tokenFile(TOKEN), link);
    expect(readToken(link)).toBe(TOKEN);
    const open = join(folder, "open");
    symlinkSync(tokenFile(TOKEN, 0o644), open);
    expect(refusalOf(open)).toContain("others than its owner");
  });

  test("is asked for by the policy, and by no other", () => {
    expect(findToken({ commands: "loopback", tokenFile: "/nowhere" }, false)).toBeNull();
    expect(findToken({ commands: "token", tokenFile: null }, true)).toBeNull();
    expect(() => findToken({ commands: "token", tokenFile: null }, false)).toThrow("there is no token");
  });
});

test("a token stands at a command's end, behind a space", () => {
  expect(splitToken(`greet token:${TOKEN}`)).toEqual({ rest: "greet", token: TOKEN });
  expect(splitToken(`token:${TOKEN}`)).toEqual({ rest: "", token: TOKEN });
  expect(splitToken("greet\ttoken:")).toEqual({ rest: "greet", token: "" });
  expect(splitToken("greet")).toEqual({ rest: "greet", token: null });
  expect(splitToken("atoken:b")).toEqual({ rest: "atoken:b", token: null });
  expect(splitToken("token:a b")).toEqual({ rest: "token:a b", token: null });
});

test("the right token is told from every other, whatever its length", () => {
  const token = new CommandToken({ isGood: () => false, isAllowed: () => false, hasTokenFor: () => false });
  expect(token.isRight(TOKEN)).toBe(false);
  expect(token.load({ commands: "token", tokenFile: tokenFile(TOKEN) })).toBe(true);
  for (const wrong of [
    "",
    TOKEN.slice(1),
    TOKEN.slice(0, -1),
    `${TOKEN}x`,
    TOKEN.toLowerCase(),
    "x".repeat(1_000_000),
  ]) {
    expect(token.isRight(wrong)).toBe(false);
  }
  expect(token.isRight(TOKEN)).toBe(true);
});

test("wrong tokens of one network do not block another network's, and the log has them in a line or two", async () => {
  const lines: string[] = [];
  const guesses = new Guesses("a test: a command", { warn: (line: string) => void lines.push(line) } as never);
  const waiting = Array.from({ length: 32 }, (_, at) => guesses.wrong(`2001:db8::${at}`));
  expect(guesses.mayLook("2001:db8::ffff")).toBe(false);
  expect(guesses.mayLook("2001:db8:0:1::1")).toBe(true);
  expect(guesses.mayLook("192.0.2.1")).toBe(true);
  await Promise.all(waiting);
  expect(guesses.mayLook("2001:db8::ffff")).toBe(true);
  guesses.close();
  expect(lines).toEqual([
    "a test: a command with a wrong token, the last from 2001:db8::0",
    "a test: a command with a wrong token, 32 times, the last from 2001:db8::ffff",
  ]);
});

function recordOf(name: string, token: string, scope: string): TokenRecord {
  const hash = hashOf(token).toString("hex");
  return { name, hash, scopes: [scope], created: new Date().toISOString(), expires: null };
}

const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
const outer = addresses.find(({ internal, family }) => !internal && family === "IPv4")?.address ?? "";
/** By loopback everybody is of this machine: where there is no other address, nobody can come from elsewhere. */
const fromElsewhere = test.skipIf(outer === "");

describe("a server with the policy token", () => {
  let hub: Hub;
  const from = (command: string): Promise<string> => ask({ hostname: outer, port: hub.port }, command);

  beforeAll(async () => {
    const dir = makeProject({
      "modules/greet.ts": moduleSource(`{ routes: { "GREET": () => "hello\\n" } }`),
      "hrmr.json": '{ "control": { "commands": "token", "tokenFile": "token" } }',
    });
    writeFileSync(join(dir, "token"), `${TOKEN}\n`, { mode: 0o600 });
    hub = new Hub(
      dir,
      await startProgram(["--listen", "tcp://0.0.0.0:0", "--listen", "udp://127.0.0.1:0"], { cwd: dir }),
    );
  });
  afterAll(() => hub.stop());

  fromElsewhere.each(["RELOAD", "RELOAD greet", "HELP", "STATUS"])(
    "takes %s from elsewhere with the token, and not without",
    async (command) => {
      const word = command.split(" ")[0];
      expect(await from(command)).toBe(
        `ERR ${word} is for clients on this machine, and for clients that end it with token: and the server's token\n`,
      );
      expect(await from(`${command} token:${OTHER}`)).toBe("ERR the token is wrong\n");
      expect(await from(`${command} token:`)).toBe("ERR the token is wrong\n");
      const told = await from(`${command} token:${TOKEN}\r\n`);
      expect(told).toMatch(/^(OK |\{\n|"RELOAD" )/);
      expect(told).not.toContain(TOKEN);
    },
  );

  fromElsewhere("does not shut down for a wrong one", async () => {
    for (const given of ["", " token:", ` token:${OTHER}`, ` token:${TOKEN}x`, ` x token:${TOKEN}`]) {
      expect(await from(`SHUTDOWN${given}\n`)).toStartWith("ERR ");
    }
    expect(await from("GREET")).toBe("hello\n");
  });

  fromElsewhere(
    "takes a token of hrmr token with the scope admin, behind the command or by AUTH before it",
    async () => {
      const [admin, other] = [makeToken(), makeToken()];
      const records = [recordOf("boss", admin, "admin"), recordOf("bot", other, "http")];
      writeTokens(join(hub.dir, "data", TOKENS_FILE), records);
      expect(await from(`STATUS token:${admin}\n`)).toStartWith("{\n");
      expect(await from(`STATUS token:${other}\n`)).toBe("ERR the token is wrong\n");
      hub.write("modules/greet.ts", moduleSource(`{ routes: { "GREET": () => "hello\\n", "GREETED": () => "" } }`));
      expect(await from(`AUTH ${admin}\nRELOAD\n`)).toMatch(/^OK boss\nOK /);
      expect(await from(`AUTH ${other}\nRELOAD\n`)).toMatch(/^OK bot\nERR RELOAD is for clients on this machine/);
      expect(hub.program.output()).not.toContain(admin);
      // The audit log tells who it was.
      const audit = join(hub.dir, ".hrmr/audit.log");
      const by = /RELOAD of [\d.]+, token boss \(#\d+\)/;
      await until("the reload to be noted", () => existsSync(audit) && by.test(readFileSync(audit, "utf8")));
    },
  );

  test("takes commands of this machine as they are; a token that is given must be right all the same", async () => {
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    expect(await hub.ask(`RELOAD greet token:${TOKEN}\n`)).toStartWith("OK ");
    expect(await hub.ask(`RELOAD token:${OTHER}\n`)).toBe("ERR the token is wrong\n");
    expect(await hub.ask(`CLOSE token:${OTHER}\n`)).toBe("");
  });

  test("answers a wrong token late and ends the connection, whatever follows it, and compares no further token on it", async () => {
    const client = await hub.connect();
    const startedAt = performance.now();
    const guesses = Array.from({ length: 50 }, (_, at) => `HELP token:guess-${String(at).padStart(16, "0")}\n`);
    await client.send(`${guesses.join("")}HELP token:${TOKEN}\n`);
    expect(await client.waitForEnd()).toBe("ERR the token is wrong\n");
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(400);
    await hub.program.waitFor(/control\.commands: a command with a wrong token.*, the last from/);
    expect(hub.program.output()).not.toContain("guess-");
    // The right one is not kept waiting on another connection.
    await until("the guesses to be over", async () => (await hub.ask(`HELP token:${TOKEN}\n`)).includes('"RELOAD"'));
  });

  test("compares no token of an address while many wrong ones wait for their answer, and does so again later", async () => {
    const wrong = await Promise.all(Array.from({ length: 40 }, () => hub.ask(`HELP token:${OTHER}\n`)));
    const refused = "ERR too many wrong tokens came from this address: try again in a second\n";
    expect(wrong.filter((text) => text === "ERR the token is wrong\n").length).toBeGreaterThanOrEqual(32);
    expect(new Set(wrong)).toEqual(
      new Set(["ERR the token is wrong\n", ...(wrong.includes(refused) ? [refused] : [])]),
    );
    expect(await hub.ask(`HELP token:${TOKEN}\n`)).toContain('"RELOAD"');
    expect(await hub.ask("GREET")).toBe("hello\n");
  });

  test("takes none over UDP, token or not", async () => {
    const port = Number(/udp:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.output())?.[1]);
    let reply = Promise.withResolvers<string>();
    const client = await Bun.udpSocket({ socket: { data: (_, bytes) => reply.resolve(bytes.toString()) } });
    for (const word of ["STATUS", "AUTH"]) {
      reply = Promise.withResolvers();
      client.send(word === "AUTH" ? `AUTH ${TOKEN}` : `${word} token:${TOKEN}`, port, "127.0.0.1");
      expect(await reply.promise).toBe(`ERR ${word} is not accepted over UDP\n`);
    }
    client.close();
  });

  test("repeats no token: not in a refusal, and not in the log", async () => {
    expect(await hub.ask(`RELOAD no such token:${TOKEN}\n`)).toBe(
      'ERR RELOAD takes one module\'s name, not "no such"\n',
    );
    expect(await hub.ask(`HELP me token:${TOKEN}\n`)).toBe('ERR no module is bound to "HELP me"\n');
    expect(await hub.ask(`RELOAD nobody token:${TOKEN}\n`)).toStartWith("ERR ");
    await hub.program.waitFor("nobody");
    expect(hub.program.output()).not.toContain(TOKEN);
  });

  test("reads the file again at a reload; one that cannot be used leaves the old token, and says why", async () => {
    hub.write("token", OTHER);
    expect(await hub.ask("RELOAD\n")).toContain("the token of the commands reloaded\n");
    expect(await hub.ask(`STATUS token:${TOKEN}\n`)).toBe("ERR the token is wrong\n");
    chmodSync(join(hub.dir, "token"), 0o644);
    const told = await hub.ask("RELOAD\n");
    expect(told).toStartWith(
      `ERR the token of the commands was not reloaded: The token file ${join(hub.dir, "token")} may be read`,
    );
    expect(told).toContain("The old one stays in use. Do: chmod 600");
    expect(await hub.ask(`STATUS token:${OTHER}\n`)).toStartWith("{\n");
    chmodSync(join(hub.dir, "token"), 0o600);
    hub.write("token", TOKEN);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
  });
});

test("with another policy a token is cut off and looked at by nobody: it is not taken for a module's name", async () => {
  const dir = makeProject({ "modules/greet.ts": moduleSource(`{ routes: { "GREET": () => "hello\\n" } }`) });
  const hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir }));
  try {
    expect(await hub.ask(`RELOAD token:${TOKEN}\n`)).toStartWith("OK ");
    expect(hub.program.output()).not.toContain(TOKEN);
  } finally {
    await hub.stop();
  }
});

test("a unix client is of this machine", async () => {
  const path = join(folder, "s.sock");
  const dir = makeProject({
    "modules/greet.ts": moduleSource(`{ routes: { "GREET": () => "hello\\n" } }`),
    "hrmr.json": JSON.stringify({ control: { commands: "token", tokenFile: tokenFile(TOKEN) } }),
  });
  const hub = new Hub(dir, await startProgram(["--listen", `unix://${path}`], { cwd: dir }));
  try {
    expect(await ask(path, "STATUS\n")).toStartWith("{\n");
    expect(await ask(path, `STATUS token:${OTHER}\n`)).toBe("ERR the token is wrong\n");
  } finally {
    await hub.stop();
  }
});
