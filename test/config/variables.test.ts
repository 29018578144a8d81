/** `${NAME}` in the config file, and `.env`: what the values become, what is told, and what is not shown. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { resolveConfig } from "../../src/cli/start/options";
import { keepConfig } from "../../src/config/resolve/kept-config";
import { configFileOf, effectiveConfig, type ResolvedConfig } from "../../src/config/resolve/resolved";
import { fillVariables } from "../../src/config/resolve/variables";
import type { UserError } from "../../src/config/user-error";
import { until } from "../support/until";

const root = mkdtempSync(join(tmpdir(), "hrmr-variables-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function folder(files: Record<string, string>): string {
  const dir = mkdtempSync(join(root, "cwd-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text, { mode: 0o600 });
  }
  return dir;
}

function resolve(
  files: Record<string, string>,
  env: Record<string, string> = {},
  flags: { config?: string; set?: string[] } = {},
): Promise<ResolvedConfig> {
  return resolveConfig({ listen: [], ...flags }, env, folder(files));
}

async function failure(promise: Promise<unknown>): Promise<UserError> {
  return await promise.then(
    () => {
      throw new Error("it was accepted");
    },
    (error: UserError) => error,
  );
}

describe("${NAME} in a text", () => {
  const env = { NAME: "value", EMPTY: "", _a1: "x", MARK: "${NAME}" };
  const CASES: [text: string, filled: string][] = [
    ["${NAME}", "value"],
    ["a ${NAME}-${_a1} b", "a value-x b"],
    ["${EMPTY}", ""],
    ["${EMPTY:-instead}", "instead"],
    ["${MISSING:-a:-b/c}", "a:-b/c"],
    ["${MISSING:-}", ""],
    ["$${NAME}", "${NAME}"],
    ["$$${NAME}", "$${NAME}"],
    ["$NAME $ {NAME} $", "$NAME $ {NAME} $"],
    // A value is not looked at again.
    ["${MARK}", "${NAME}"],
  ];
  test.each(CASES)("%s is %s", (text, filled) => {
    const { value, mistakes } = fillVariables({ deep: [{ text }] }, env);
    expect(mistakes).toEqual([]);
    expect(value).toEqual({ deep: [{ text: filled }] });
  });

  test.each(["${MISSING}", "${", "${}", "${a b}", "${1}", "${NAME", "${NAME-x}", "${A:-${B}}", "x ${NAME:+y}"])(
    "%s is a mistake, with its path",
    (text) => {
      const { mistakes } = fillVariables({ modules: { mail: { hosts: ["a", text] } } }, env);
      expect(mistakes.map(({ path }) => path)).toEqual([["modules", "mail", "hosts", 1]]);
      expect(mistakes[0]?.message).toMatch(/^modules\.mail\.hosts\[1\]: .+\$\{\w+:-default\}/);
    },
  );

  test("names of keys, numbers and $schema stay as they are", () => {
    const value = { $schema: "${NAME}", "${NAME}": 1, list: [true, null] };
    expect(fillVariables(value, env)).toEqual({ value, texts: [], mistakes: [] });
  });
});

describe("a config file with variables", () => {
  const TEXT = `{
    "threads": "\${THREADS}",
    "watch": "\${WATCH:-false}",
    "listen": ["tcp://127.0.0.1:\${PORT}"],
    "tls": { "ciphers": "\${CIPHERS}" },
    "modules": { "mail": { "password": "\${PASSWORD}", "server": { "url": "smtp://\${USER}@host" }, "plain": "$\${x}" } }
  }`;
  const env = { THREADS: "2", PORT: "1234", CIPHERS: "DEFAULT", PASSWORD: "s3cret", USER: "me" };

  test("a key of the server's takes a variable in its own form, a module's setting takes its text", async () => {
    const { options } = await resolve({ "hrmr.json": TEXT }, env);
    expect(options).toMatchObject({ threads: 2, watch: false, listen: ["tcp://127.0.0.1:1234"] });
    expect(options.tls.ciphers).toBe("DEFAULT");
    expect(options.modules).toEqual({
      mail: { password: "s3cret", server: { url: "smtp://me@host" }, plain: "${x}" },
    });
  });

  test("a date of TOML is a text, which can be copied to every host", async () => {
    const text = "[modules.m]\nat = 2024-01-01T07:30:00Z\nlist = [{ day = 2024-01-02 }]\n";
    const { options } = await resolve({ "hrmr.toml": text }, env);
    expect(options.modules["m"]).toEqual({ at: "2024-01-01T07:30:00Z", list: [{ day: "2024-01-02" }] });
  });

  test("TOML and YAML take them too", async () => {
    const both: Record<string, string>[] = [
      { "hrmr.toml": 'threads = "${THREADS}"\n[modules.mail]\npassword = "${PASSWORD}"\n' },
      { "hrmr.yaml": 'threads: ${THREADS}\nmodules:\n  mail:\n    password: "${PASSWORD}"\n' },
    ];
    for (const files of both) {
      const { options } = await resolve(files, env);
      expect(options.threads).toBe(2);
      expect(options.modules).toEqual({ mail: { password: "s3cret" } });
    }
  });

  test("every missing variable is told with line, column and path, and no value is shown", async () => {
    const { code, message } = await failure(
      resolve({ "hrmr.json": TEXT }, { ...env, THREADS: "s3cret", PORT: "s3cret" }),
    );
    expect(code).toBe("BAD_CONFIG");
    expect(message).toContain(
      "hrmr.json:2:5: threads must be a whole number from 1 to 256, not the value of the variable THREADS",
    );
    expect(message).toContain("the value of the variable PORT");
    expect(message).not.toContain("s3cret");
    const missing = await failure(resolve({ "hrmr.json": TEXT }, { PORT: "1" }));
    expect(missing.message).toContain(
      "hrmr.json:2:5: threads: the variable THREADS is neither in the environment nor in .env.",
    );
    expect(missing.message).toContain("hrmr.json:6:28: modules.mail.password: the variable PASSWORD is neither");
    // One mistake a key.
    expect(missing.message.match(/: threads\b/g)).toHaveLength(1);
  });

  test("hrmr config masks the values, and names the variables as their origin", async () => {
    const config = await resolve({ "hrmr.json": TEXT }, env);
    const { values } = effectiveConfig(config);
    expect(values["threads"]).toEqual({ value: "***", origin: "environment variable THREADS (hrmr.json:2)" });
    expect(values["listen"]).toEqual({ value: "***", origin: "environment variable PORT (hrmr.json:4)" });
    expect(values["modules.mail.server"]).toEqual({ value: "***", origin: "environment variable USER (hrmr.json:6)" });
    expect(values["limits.maxQueued"]?.origin).toBe("default");
    expect(JSON.stringify(values)).not.toContain("s3cret");
    expect(effectiveConfig(config, true).values["modules.mail.password"]?.value).toBe("s3cret");
  });

  test("a flag over it takes mask and origin away", async () => {
    const { values } = effectiveConfig(await resolve({ "hrmr.json": TEXT }, env, { set: ["threads=7"] }));
    expect(values["threads"]).toEqual({ value: 7, origin: "--set" });
  });

  test("hrmr config --json writes variables as variables, and the file gives the same configuration again", async () => {
    const config = await resolve({ "hrmr.json": TEXT }, env);
    const { config: file, leftOut } = configFileOf(config, false);
    expect(file).toMatchObject({ threads: "${THREADS}", tls: { ciphers: "${CIPHERS}" } });
    expect(file.modules).toEqual({ mail: { password: "${PASSWORD}" } });
    expect(leftOut).toEqual(["listen", "watch", "modules.mail.server", "modules.mail.plain"]);
    for (const again of [configFileOf(config, true).config]) {
      const { options } = await resolve({ "hrmr.json": JSON.stringify(again) }, env);
      expect({ ...options, places: null }).toEqual({ ...config.options, places: null } as never);
    }
  });
});

describe(".env", () => {
  test("adds to the environment, which wins, and reaches the config file and the modules", async () => {
    const files = {
      "hrmr.json": '{ "threads": "${A}", "modules": { "m": { "b": "${B}" } } }',
      ".env": "# secrets\nexport A=3\nB=\"two\nlines\" # and more\n\nC='of the file'\nHRMR_LIMITS_MAX_QUEUED=9\n",
    };
    const { options, origins, notes } = await resolve(files, { C: "given" });
    expect(options.threads).toBe(3);
    expect(options.modules).toEqual({ m: { b: "two\nlines" } });
    expect(options.limits.maxQueued).toBe(9);
    expect(origins.get("limits.maxQueued")).toBe("HRMR_LIMITS_MAX_QUEUED in .env");
    expect(options.environment).toEqual({ A: "3", B: "two\nlines", HRMR_LIMITS_MAX_QUEUED: "9" });
    expect(notes).toEqual([]);
  });

  test("the one beside the config file counts, wherever that lies", async () => {
    const files = {
      ".env": "A=here",
      "conf/.env": "A=there",
      "conf/hrmr.json": '{ "modules": { "m": { "a": "${A}" } } }',
    };
    const { options } = await resolve(files, {}, { config: "conf/hrmr.json" });
    expect(options.modules).toEqual({ m: { a: "there" } });
  });

  test("odd lines, names that it cannot set and loose permissions are told", async () => {
    const dir = folder({ ".env": 'A=1\nnonsense\nB="x\ny"\n???\nHRMR_CONFIG=other.json\n' });
    const path = join(dir, ".env");
    chmodSync(path, 0o644);
    const { options, notes } = await resolveConfig({ listen: [] }, {}, dir);
    expect(options.environment).toEqual({ A: "1", B: "x\ny" });
    expect(notes).toEqual([
      `Other users can read or change ${path} (mode 644). Run: chmod 600 ${path}`,
      `${path}:2 is not NAME=value, and is ignored.`,
      `${path}:5 is not NAME=value, and is ignored.`,
      `HRMR_CONFIG in ${path} is ignored: only the environment or a flag can say it.`,
    ]);
  });

  test("a bad value in it is told as one of .env", async () => {
    const { code, message } = await failure(resolve({ ".env": "HRMR_THREADS=many" }));
    expect(code).toBe("BAD_ENVIRONMENT");
    expect(message).toContain("HRMR_THREADS in .env must be a whole number");
  });

  test("a folder of that name is no such file", async () => {
    expect((await resolve({ ".env/bin/python": "" })).options.environment).toBeUndefined();
  });

  test("a reload sees another content, a new file and its end", async () => {
    const dir = folder({ ".env": "A=1" });
    const config = keepConfig(() => resolveConfig({ listen: [] }, {}, dir), { env: {}, cwd: dir, file: undefined });
    const environment = async () => (await config()).options.environment;
    expect(await environment()).toEqual({ A: "1" });
    writeFileSync(join(dir, ".env"), "A=2");
    expect(await environment()).toEqual({ A: "2" });
    await until("the file to be old enough to be kept", async () => (await config()) !== null);
    rmSync(join(dir, ".env"));
    expect(await environment()).toBeUndefined();
  });
});
