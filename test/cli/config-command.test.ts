/** `hrmr config`: what a user sees of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CONFIG_KEYS } from "../../src/config/schema/key-list";
import { version } from "../../package.json";
import { callProgram } from "../support/call-program";
import { runProgram } from "../support/program";

interface JsonSchema {
  properties: Record<string, JsonSchema>;
  additionalProperties: unknown;
  [keyword: string]: unknown;
}

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "hrmr-config-"));
  writeFileSync(
    join(cwd, "hrmr.toml"),
    'threads = 2\n[limits]\nmaxQueued = 7\n[modules.mail]\npassword = "s3cret"\nfrom = "x"\n',
  );
});
afterAll(() => rmSync(cwd, { recursive: true, force: true }));

describe("hrmr config", () => {
  test("shows every key with its value and origin, marks what differs, and keeps secrets", async () => {
    const { exitCode, stdout, stderr } = await runProgram(["config", "-w", "0", "--set", "timeouts.idleMs=5"], {
      cwd,
      env: { HRMR_WATCH: "true" },
    });
    expect(stderr).toBe("");
    expect(stdout).toStartWith(`config file ${join(cwd, "hrmr.toml")}\n`);
    expect(stdout).toMatch(/^\* threads +2 +hrmr\.toml:1$/m);
    expect(stdout).toMatch(/^\* maxQueued +7 +hrmr\.toml:3$/m);
    expect(stdout).toMatch(/^\* processes +0 +--processes$/m);
    expect(stdout).toMatch(/^\* watch +true +HRMR_WATCH$/m);
    expect(stdout).toMatch(/^\* idleMs +5 +--set$/m);
    expect(stdout).toMatch(/^ {2}maxPipelined +64 +default$/m);
    expect(stdout).toMatch(/\n\nmodules\.mail\n\* password +"\*\*\*" +hrmr\.toml:5\n/);
    expect(stdout).not.toContain("s3cret");
    const names = new Set([...stdout.matchAll(/^[* ] (\S+) +\S/gm)].map(([, name]) => name));
    for (const key of CONFIG_KEYS.values()) expect(names).toContain(key.path.at(-1));
    expect(exitCode).toBe(0);
  });

  test("--json is a config file that start takes; settings that may be secret are in it only with --show-secrets", async () => {
    const { stdout, stderr } = await callProgram(["config", "--json", "-p", "81"], { cwd });
    expect(stdout).not.toContain("s3cret");
    expect(stderr).toBe(
      "Left out, since they may be secret: modules.mail.password, modules.mail.from.\nPass --show-secrets to include them.\n",
    );
    const whole = await callProgram(["config", "--json", "--show-secrets", "-p", "81"], { cwd });
    expect(whole.stderr).toBe("");
    for (const [text, modules] of [
      [stdout, { mail: {} }],
      [whole.stdout, { mail: { password: "s3cret", from: "x" } }],
    ] as const) {
      const config = JSON.parse(text) as Record<string, unknown>;
      expect(config).toMatchObject({ listen: ["tcp://127.0.0.1:81"], threads: 2, limits: { maxQueued: 7 } });
      expect(config["modules"]).toEqual(modules);
      writeFileSync(join(cwd, "again.json"), text);
      const again = await callProgram(["config", "--json", "--show-secrets", "--config", "again.json"], { cwd });
      expect([again.exitCode, again.stderr, again.stdout]).toEqual([0, "", text]);
      expect((await runProgram(["validate", "--config", "again.json", "-p", "0"], { cwd })).stdout).toContain(
        "0 errors",
      );
    }
  });

  test("--origins --json has the origins of the values too", async () => {
    const args = ["config", "--origins", "--json", "-p", "81"];
    const { stdout } = await callProgram(args, { cwd });
    const { file, values } = JSON.parse(stdout) as {
      file: string;
      values: Record<string, { value: unknown; origin: string }>;
    };
    expect(file).toBe(join(cwd, "hrmr.toml"));
    expect(Object.keys(values)).toEqual([...CONFIG_KEYS.keys(), "modules.mail.password", "modules.mail.from"]);
    expect(values["listen"]).toEqual({ value: ["tcp://127.0.0.1:81"], origin: "--port" });
    expect(values["limits.maxQueued"]).toEqual({ value: 7, origin: "hrmr.toml:3" });
    expect(values["modules.mail.password"]).toEqual({ value: "***", origin: "hrmr.toml:5" });
    expect((await callProgram([...args, "--show-secrets"], { cwd })).stdout).toContain('"s3cret"');
    expect((await callProgram(["config", "--origins"], { cwd })).stderr).toStartWith("--origins goes with --json.\n");
  });

  test.each([
    ["start", ["--set", "modules.app.password:s3cret"]],
    ["start", ["--set", 'modules.app={"run": "s3cret"}']],
    ["start", ["--listen", "tcp://u:s3cret@h:1"]],
    ["send", ["tcp://u:s3cret@h:1", "x"]],
    ["status", ["--server", "https://u:s3cret@h:1"]],
    ["status", ["--server", "https://h/?token=s3cret"]],
    ["start", ["--config", "broken.json"]],
    ["validate", ["--config", "broken.json"]],
    ["config", ["--config", "broken.toml"]],
    ["config", ["--config", "wrong.json"]],
    ["validate", ["--config", "wrong.json"]],
  ])("a mistake is told without quoting a secret: %s %p", async (command, args) => {
    writeFileSync(join(cwd, "broken.json"), '{"modules": {"app": {"password": s3cret}}}');
    writeFileSync(join(cwd, "broken.toml"), "[modules.app]\npassword = s3cret\n");
    const wrong = {
      app: "s3cret",
      b: { timeouts: "s3cret", enabled: "https://h/?api_key=s3cret", external: [{ a: "s3cret" }] },
    };
    writeFileSync(join(cwd, "wrong.json"), JSON.stringify({ modules: wrong, threads: { password: "s3cret" } }));
    const { stdout, stderr, exitCode } = await (command === "validate" ? runProgram : callProgram)([command, ...args], {
      cwd,
    });
    expect(exitCode).toBeGreaterThan(0);
    expect(stdout + stderr).not.toContain("s3cret");
    expect((stdout + stderr).length).toBeGreaterThan(40);
  });

  test("messages about HRMR_ variables with a mistake show no secrets", async () => {
    const { stderr } = await callProgram(["config"], {
      cwd,
      env: { HRMR_LISTEN: "tcp://u:s3cret@h:1", HRMR_THREADS: "http://u:s3cret@h" },
    });
    expect(stderr).toContain("HRMR_LISTEN");
    expect(stderr).toContain("HRMR_THREADS");
    expect(stderr).not.toContain("s3cret");
  });

  test("--schema is the JSON Schema that init writes: closed, with texts and defaults", async () => {
    const { stdout } = await callProgram(["config", "--schema"], { cwd });
    const schema = JSON.parse(stdout) as JsonSchema;
    expect(schema["$schema"]).toBe("https://json-schema.org/draft/2020-12/schema");
    expect(schema.additionalProperties).toBe(false);
    for (const { path, default: initial } of CONFIG_KEYS.values()) {
      const found = path.reduce((at, name) => at.properties[name] as JsonSchema, schema);
      expect([path, found["default"], found["description"]]).toEqual([
        path,
        initial,
        expect.stringMatching(/^[\s\S]*[^.]\.$/),
      ]);
      expect(Object.keys(found)).not.toContain("restart");
    }
    const { limits, modules } = schema.properties;
    expect(limits?.additionalProperties).toBe(false);
    // A variable may stand for it.
    const variable = { type: "string", pattern: expect.stringContaining("A-Z") };
    expect(limits?.properties["maxQueued"]).toMatchObject({
      anyOf: [{ type: "integer", minimum: 1, maximum: 2 ** 53 - 1 }, variable],
    } as object);
    // A module's own settings are not the server's to judge.
    expect((modules?.additionalProperties as JsonSchema | undefined)?.additionalProperties).toEqual({});
    await callProgram(["init", "project"], { cwd });
    expect(readFileSync(join(cwd, "project/hrmr.schema.json"), "utf8")).toBe(stdout);
    expect(readFileSync(join(cwd, "project/hrmr.json"), "utf8")).toContain('"$schema": "./hrmr.schema.json"');
  });

  test("tells mistakes as start does, and odd variables on stderr", async () => {
    const set = ["--set", "control.listen=tcp://127.0.0.1:1"];
    const [shown, started] = await Promise.all([
      callProgram(["config", ...set], { cwd }),
      callProgram(["start", ...set], { cwd }),
    ]);
    expect(shown.stderr).toContain("--set: control.listen is set, and control.tokenFile is not.");
    expect([shown.exitCode, shown.stdout, shown.stderr]).toEqual([1, "", started.stderr]);
    const odd = await callProgram(["config"], { cwd, env: { HRMR_THREAD: "2" } });
    expect(odd.stderr).toBe(
      "HRMR_THREAD in the environment is no setting of hrmr, and is ignored. Did you mean HRMR_THREADS?\n",
    );
    expect([odd.exitCode, (await callProgram(["version"])).stdout]).toEqual([0, `hrmr ${version}\n`]);
  });
});
