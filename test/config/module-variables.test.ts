/** HRMR_MODULES_NAME_KEY: the setting that each variable stands for, and the mistakes of those that fit none or two. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { resolveConfig } from "../../src/cli/start/options";
import { findSetting } from "../../src/cli/start/module-variables";
import { effectiveConfig } from "../../src/config/resolve/resolved";
import type { UserError } from "../../src/config/user-error";

const root = mkdtempSync(join(tmpdir(), "hrmr-module-variables-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const module = (name: string, keys: string[] = [], mayHaveSchema = true) => ({ name, keys, mayHaveSchema });

describe("a variable", () => {
  const MODULES = [
    module("mail", ["run", "timeouts.loadMs", "apiKey", "api_token"]),
    module("mail-queue", ["run", "size"]),
    module("native", ["run", "level"], false),
  ];
  const CASES: [variable: string, found: ReturnType<typeof findSetting> | RegExp][] = [
    ["HRMR_MODULES_MAIL_API_KEY", { name: "mail", key: "apiKey" }],
    ["HRMR_MODULES_MAIL_APIKEY", { name: "mail", key: "apiKey" }],
    ["HRMR_MODULES_MAIL_TIMEOUTS_LOAD_MS", { name: "mail", key: "timeouts.loadMs" }],
    ["HRMR_MODULES_MAIL_QUEUE_SIZE", { name: "mail-queue", key: "size" }],
    // Only the schema of the module can tell.
    ["HRMR_MODULES_MAIL_PORT", { name: "mail", key: "HRMR_MODULES_MAIL_PORT" }],
    ["HRMR_MODULES_NATIVE_LEVEL", { name: "native", key: "level" }],
    ["HRMR_MODULES_NATIVE_LEVER", /^fits no setting of the module native\. Known are .*HRMR_MODULES_NATIVE_LEVEL$/],
    ["HRMR_MODULES_MALI_PORT", /^fits no module\. There are mail, mail-queue, native$/],
    ["HRMR_MODULES_MAIL_QUEUE_PORT", /^may be a setting of mail or of mail-queue\./],
  ];
  test.each(CASES)("%s is %p", (variable, found) => {
    const is = findSetting(variable, MODULES);
    if (found instanceof RegExp) expect(is).toMatch(found);
    else expect(is).toEqual(found);
  });

  test("that fits two settings names both", () => {
    const twins = [module("a", ["b-c", "B_C"]), module("a-b", ["c"])];
    expect(findSetting("HRMR_MODULES_A_B_C", twins)).toBe(
      "fits both modules.a.b-c and modules.a.B_C. Write it in the config file",
    );
    expect(findSetting("HRMR_MODULES_A_B_C", [module("a", ["b-c"]), module("a-b", ["c"])])).toBe(
      "fits both modules.a.b-c and modules.a-b.c. Write it in the config file",
    );
  });
});

describe("the configuration with such variables", () => {
  function resolve(files: Record<string, string>, env: Record<string, string>, set: string[] = []) {
    const dir = mkdtempSync(join(root, "cwd-"));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), text, { mode: 0o600 });
    }
    return resolveConfig({ listen: [], set }, env, dir);
  }
  const FILES = {
    "hrmr.json": '{ "modules": { "mail": { "user": "file", "limit": 1 } } }',
    "modules/mail.ts": "",
    "modules/other.ts": "",
    ".env": "HRMR_MODULES_OTHER_RUN=pool\n",
  };

  test("has them over the file and under --set, with their names as origins, and masked", async () => {
    const env = {
      HRMR_MODULES_MAIL_USER: "12345",
      HRMR_MODULES_MAIL_LIMIT: "2",
      HRMR_MODULES_MAIL_PASSWORD: "s3cret",
      HRMR_MODULES_ACCESS_TOKENS: '["a"]',
      HRMR_MODULES_DIR: "modules",
    };
    const config = await resolve(FILES, env);
    expect(config.options.modules).toEqual({
      // A text in the file stays a text.
      mail: { user: "12345", limit: 2, HRMR_MODULES_MAIL_PASSWORD: "s3cret" },
      other: { run: "pool" },
      access: { tokens: ["a"] },
    });
    const { values } = effectiveConfig(config);
    expect(values["modules.mail.user"]).toEqual({ value: "***", origin: "HRMR_MODULES_MAIL_USER" });
    expect(values["modules.other.run"]).toEqual({ value: "pool", origin: "HRMR_MODULES_OTHER_RUN in .env" });
    expect(JSON.stringify(values)).not.toContain("s3cret");
    expect(config.options.places).toMatchObject({
      "modules.mail": "hrmr.json:1:16",
      "modules.mail.user": "HRMR_MODULES_MAIL_USER",
    });
    const { options } = await resolve(FILES, env, ["modules.mail.limit=3"]);
    expect(options.modules["mail"]?.["limit"]).toBe(3);
  });

  test("is refused with all mistakes of them at once", async () => {
    const env = { HRMR_MODULES_NOBODY_X: "s3cret", HRMR_MODULES_MAIL_RUN: "nowhere" };
    const error: UserError = await resolve(FILES, env).then(
      () => {
        throw new Error("it was accepted");
      },
      (thrown: UserError) => thrown,
    );
    expect(error.code).toBe("BAD_ENVIRONMENT");
    expect(error.message.split("\n").sort()).toEqual([
      'HRMR_MODULES_MAIL_RUN in the environment must be one of "inline", "pool", "process", not "nowhere".',
      "HRMR_MODULES_NOBODY_X in the environment fits no module. There are access, counter, echo, events, http, mail, other, store.",
    ]);
  });
});
