/** A module's settings and its config schema: what passes, what each mistake says, and what must not be shown. */
import { describe, expect, test } from "bun:test";
import * as mini from "zod/mini";
import { z } from "zod";
import { MODULE_KEYS } from "../../src/config/schema/key-list";
import { isForKey, isOfModule } from "../../src/config/variable-names";
import type { StandardResult, StandardSchema } from "../../src/module/contract";
import { readConfig, readSchema, SERVER_SETTINGS, SettingsError } from "../../src/module/shape/config";

function mistakesOf(settings: Record<string, unknown>, schema: StandardSchema): string[] {
  try {
    readConfig("mail", settings, schema);
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes.map(({ message }) => message);
    throw error;
  }
  return [];
}

/** A schema of no library. */
function schemaOf<Output>(
  validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>,
): StandardSchema<Output> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

const PORT = z.object({ port: z.number().default(25), hosts: z.array(z.string()).default([]) });

describe("a config schema", () => {
  test("gets the module's own settings, and its output is the config", () => {
    const settings = { port: 2525, run: "pool", timeouts: { loadMs: 1 }, enabled: true };
    expect(readConfig("mail", settings, z.strictObject({ port: z.number() }))).toEqual({ port: 2525 });
    expect(readConfig("mail", {}, PORT)).toEqual({ port: 25, hosts: [] });
  });

  test("none leaves the settings as they are", () => {
    const settings = { port: "any", run: "pool" };
    expect(readConfig("mail", settings, null)).toBe(settings);
  });

  test("does not see any of the server's own keys", () => {
    expect([...SERVER_SETTINGS].sort()).toEqual(
      [...new Set([...MODULE_KEYS.values()].map(({ path }) => path[0] ?? ""))].sort(),
    );
  });

  test("tells every mistake with its path", () => {
    expect(mistakesOf({ port: "x", hosts: ["a", 3] }, PORT)).toEqual([
      "modules.mail.port: Invalid input: expected number, received string",
      "modules.mail.hosts[1]: Invalid input: expected string, received number",
    ]);
  });

  test("tells unknown keys one by one, with the nearest name", () => {
    expect(mistakesOf({ prot: 1, zzzzz: 2 }, z.strictObject({ port: z.optional(z.number()) }))).toEqual([
      "modules.mail.prot: there is no such setting. Did you mean port?",
      "modules.mail.zzzzz: there is no such setting.",
    ]);
  });

  test("never shows a value in its messages, whatever the library quotes", () => {
    const quoting = schemaOf(() => ({
      issues: [
        { message: 'Expected number but received "hunter2"', path: [{ key: "password" }] },
        { message: "got ab, 'ab' and deepsecret" },
      ],
    }));
    expect(mistakesOf({ password: "hunter2", short: "ab", deep: { list: ["deepsecret"] } }, quoting)).toEqual([
      "modules.mail.password: Expected number but received ***",
      "modules.mail: got ab, *** and ***",
    ]);
  });

  test.each<[what: string, schema: StandardSchema, message: RegExp]>([
    ["asynchronous", z.object({}).refine(async () => true), /asynchronous check or transform/],
    [
      "one that throws",
      schemaOf(() => {
        throw new Error("no luck");
      }),
      /its config schema failed: no luck/,
    ],
    [
      "one that makes a function",
      z.object({}).transform(() => ({ log: () => 1 })),
      /makes a function of modules\.mail\.log\./,
    ],
    [
      "one that makes an object of a class",
      z.object({}).transform(() => ({ at: [new URL("http://a")] })),
      /an object of the class URL of modules\.mail\.at\[0\]/,
    ],
    [
      "one that makes a loop",
      z.object({}).transform(() => {
        const a: Record<string, unknown> = {};
        a["a"] = a;
        return a;
      }),
      /contains itself/,
    ],
    ["one that makes a text", z.object({}).transform(() => "text"), /makes a string of modules\.mail\./],
    ["one that makes a list", z.object({}).transform(() => []), /makes an array of modules\.mail\./],
  ])("%s is refused, with the reason", (_what, schema, message) => {
    expect(() => readConfig("mail", {}, schema)).toThrow(message);
  });

  test("may make dates, maps and bytes: a copy keeps them", () => {
    const made = { at: new Date(1), map: new Map([[1, { two: 2 }]]), bytes: new Uint8Array([1]) };
    expect(
      readConfig(
        "mail",
        {},
        schemaOf(() => ({ value: made })),
      ),
    ).toEqual(made);
  });

  test.each([[{ port: 1 }], ["text"], [null], [[1]], [() => 1]])("%p is no schema", (config) => {
    expect(() => readSchema("mail", config)).toThrow(
      /"config" is .+, and must be a schema that follows Standard Schema/,
    );
  });

  test("may be a function", () => {
    const schema = Object.assign(
      () => 1,
      schemaOf(() => ({ value: {} })),
    );
    expect(readSchema("mail", schema)).toBe(schema as unknown as StandardSchema);
  });
});

describe("a variable HRMR_MODULES_NAME_KEY in a module's settings", () => {
  const set = (variables: Record<string, string>, schema: StandardSchema) =>
    readConfig(
      "mail",
      Object.fromEntries(Object.entries(variables).map(([key, text]) => [`HRMR_MODULES_MAIL_${key}`, text])),
      schema,
    );

  test.each<[library: string, schema: StandardSchema]>([
    [
      "zod",
      z.object({
        apiKey: z.string(),
        port: z.number(),
        open: z.boolean(),
        hosts: z.array(z.string()),
        "from-name": z.string(),
      }),
    ],
    [
      "zod/mini",
      mini.object({
        apiKey: mini.string(),
        port: mini.number(),
        open: mini.boolean(),
        hosts: mini.array(mini.string()),
        "from-name": mini.string(),
      }),
    ],
  ])("sets a key of the schema of %s, in the form that the schema takes", (_library, schema) => {
    const variables = { API_KEY: "12345", PORT: "25", OPEN: "true", HOSTS: '["a"]', FROM_NAME: "me" };
    expect(set(variables, schema)).toEqual({ apiKey: "12345", port: 25, open: true, hosts: ["a"], "from-name": "me" });
  });

  test("wins over the file", () => {
    expect(readConfig("mail", { port: 1, HRMR_MODULES_MAIL_PORT: "2" }, PORT)).toEqual({ port: 2, hosts: [] });
  });

  test("that fits no key or two is a mistake, with the keys", () => {
    expect(mistakesOf({ HRMR_MODULES_MAIL_PROT: "1" }, PORT)).toEqual([
      "modules.mail has no setting for this variable, in the module's config schema or in the config file. Known are HRMR_MODULES_MAIL_PORT, HRMR_MODULES_MAIL_HOSTS",
    ]);
    const twins = z.object({ apiKey: z.string(), api_key: z.string() });
    expect(mistakesOf({ HRMR_MODULES_MAIL_API_KEY: "1" }, twins)).toEqual([
      "modules.mail has two settings for this variable, apiKey and api_key. Write it in the config file",
    ]);
    expect(() => readConfig("mail", { HRMR_MODULES_MAIL_PORT: "1" }, null)).toThrow("no setting for this variable");
  });

  test("is told without its value if the value does not fit", () => {
    expect(mistakesOf({ HRMR_MODULES_MAIL_PORT: "hunter2" }, PORT)).toEqual([
      "modules.mail.port: Invalid input: expected number, received string",
    ]);
  });

  test("is matched in capitals, with _ for any other sign, and before a capital letter of the name or not", () => {
    expect(isForKey("HRMR_MODULES_BOT_GATEWAY_API_KEY", "bot-gateway", "apiKey")).toBe(true);
    expect(isForKey("HRMR_MODULES_BOTGATEWAY_APIKEY", "botGateway", "apiKey")).toBe(true);
    expect(isForKey("HRMR_MODULES_BOT_GATEWAY_API", "bot", "gatewayApi")).toBe(true);
    expect(isForKey("HRMR_MODULES_MAIL_PORT", "mail", "ports")).toBe(false);
    expect(isOfModule("HRMR_MODULES_MAIL_", "mail")).toBe(false);
    expect(isOfModule("HRMR_MODULES_MAILER_PORT", "mail")).toBe(false);
  });
});
