import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program, runProgram } from "../../support/program";

/** The highest exposure that `systemd-analyze security` may report, 0 to 10. docs/systemd.md lists the rest. */
const MAX_EXPOSURE = 1.2;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function project(config = "{}"): string {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-service-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "modules"));
  mkdirSync(join(dir, "units"));
  writeFileSync(join(dir, "hrmr.json"), config);
  return dir;
}

async function unit(args: string[], cwd: string): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram(["service", "--systemd", "257", ...args], { cwd });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return stdout;
}

function valuesOf(text: string, key: string): string[] {
  return [...text.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map((match) => match[1] ?? "");
}

describe("the unit", () => {
  test("starts this program on the project of the folder, with systemd's folders", async () => {
    const dir = project();
    const text = await unit([], dir);
    expect(text).toStartWith("# /etc/systemd/system/hrmr.service\n[Unit]\n");
    expect(valuesOf(text, "ExecStart")).toEqual([
      `${program().join(" ")} start --config ${dir}/hrmr.json --state %S/hrmr`,
    ]);
    expect(valuesOf(text, "WorkingDirectory")).toEqual([dir]);
    for (const key of ["StateDirectory", "RuntimeDirectory", "LogsDirectory"])
      expect(valuesOf(text, key)).toEqual(["hrmr"]);
    expect(valuesOf(text, "DynamicUser")).toEqual(["yes"]);
    expect(valuesOf(text, "User")).toEqual([]);
    expect(valuesOf(text, "Type")).toEqual(["notify-reload"]);
    expect(valuesOf(text, "NotifyAccess")).toEqual(["main"]);
    expect(valuesOf(text, "ExecReload")).toEqual([]);
    expect(valuesOf(text, "MemoryDenyWriteExecute")).toEqual([]);
  });

  test("of an older systemd reloads by the command, whose exit code tells", async () => {
    const text = (await runProgram(["service", "--systemd", "252", "--exec", "/opt/hrmr"], { cwd: project() })).stdout;
    expect(valuesOf(text, "Type")).toEqual(["notify"]);
    expect(valuesOf(text, "ExecReload")[0]).toMatch(/^\/opt\/hrmr reload --config \S+\/hrmr\.json --state %S\/hrmr$/);
  });

  test("takes a name, a user, a program and a folder", async () => {
    const dir = project();
    const text = await unit(["--name", "web-1", "--user", "www-data", "--exec", "/opt/hrmr", "--dir", dir], "/");
    expect(text).toStartWith("# /etc/systemd/system/web-1.service\n");
    expect(valuesOf(text, "ExecStart")).toEqual([`/opt/hrmr start --config ${dir}/hrmr.json --state %S/web-1`]);
    expect(valuesOf(text, "User")).toEqual(["www-data"]);
    expect(valuesOf(text, "DynamicUser")).toEqual([]);
    expect(valuesOf(text, "RuntimeDirectory")).toEqual(["web-1"]);
  });

  test.each([
    ['{ "timeouts": { "drainMs": 90500 } }', "106"],
    ['{ "timeouts": { "drainMs": 0 } }', "infinity"],
    ["{}", "45"],
  ])("waits longer than the drain of %s", async (config, seconds) => {
    expect(valuesOf(await unit([], project(config)), "TimeoutStopSec")).toEqual([seconds]);
  });

  test("may bind a low port only where one is configured and systemd does not open it", async () => {
    const low = project('{ "listen": ["tcp://0.0.0.0:80"] }');
    expect(valuesOf(await unit([], low), "AmbientCapabilities")).toEqual(["CAP_NET_BIND_SERVICE"]);
    // A capability of a user namespace counts for nothing on the machine's network.
    expect(valuesOf(await unit([], low), "PrivateUsers")).toEqual([]);
    expect(valuesOf(await unit(["--socket"], low), "CapabilityBoundingSet")).toEqual([""]);
    expect(valuesOf(await unit([], project()), "CapabilityBoundingSet")).toEqual([""]);
  });

  test("shows of the home folders what it needs of them, and nothing else", async () => {
    const text = await unit(["--exec", "/home/ada/bin/hrmr"], project());
    expect(valuesOf(text, "ProtectHome")).toEqual(["tmpfs"]);
    expect(valuesOf(text, "BindReadOnlyPaths")).toEqual(["/home/ada/bin/hrmr"]);
    expect(valuesOf(await unit(["--exec", "/opt/hrmr"], project()), "ProtectHome")).toEqual(["yes"]);
  });

  test("quotes what systemd would take for something else", async () => {
    const text = await unit(["--exec", '/opt/my "100%" $HOME/hrmr'], project());
    expect(valuesOf(text, "ExecStart")[0]).toStartWith('"/opt/my \\"100%%\\" $$HOME/hrmr" start --config ');
  });

  test("does not hide a mistake in the config file", async () => {
    const { exitCode, stdout, stderr } = await runProgram(["service"], { cwd: project('{ "limitz": {} }') });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toContain("limitz");
  });

  test.each([
    ["--name", "a b"],
    ["--name", "x.service"],
    ["--name", "../x"],
    ["--user", "a b"],
    ["--systemd", "1"],
  ])("%s %p is wrong usage", async (flag, value) => {
    const { exitCode, stdout, stderr } = await runProgram(["service", flag, value], { cwd: project() });
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(flag);
  });
});

describe("the .socket unit", () => {
  test("opens the configured listeners, which the service needs", async () => {
    const listen = ["tcp://localhost:80", "tls://[::]:443", "udp://127.0.0.1:53", "unix:///run/hrmr/a b.sock"];
    const text = await unit(["--socket"], project(JSON.stringify({ listen, tls: { certFile: "a", keyFile: "b" } })));
    const [service = "", socket = ""] = text.split("# /etc/systemd/system/hrmr.socket\n");
    expect(valuesOf(socket, "ListenStream")).toEqual(["127.0.0.1:80", "[::]:443", "/run/hrmr/a b.sock"]);
    expect(valuesOf(socket, "ListenDatagram")).toEqual(["127.0.0.1:53"]);
    expect(valuesOf(service, "Requires")).toEqual(["hrmr.socket"]);
    expect(valuesOf(service, "Also")).toEqual(["hrmr.socket"]);
  });

  test.each(["tcp://127.0.0.1:0", "tcp://example.org:80"])("cannot be made for %s", async (url) => {
    const { exitCode, stderr } = await runProgram(["service", "--socket"], {
      cwd: project(JSON.stringify({ listen: [url] })),
    });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: `A .socket unit cannot listen on ${url}: it needs an IP address and a port, or a path.\nChange \`listen\`, or leave out --socket: then hrmr opens its listeners itself.\n`,
    });
  });
});

describe("--install", () => {
  const install = (dir: string, ...more: string[]) =>
    runProgram(["service", "--install", "--unit-dir", join(dir, "units"), "--exec", process.execPath, ...more], {
      cwd: dir,
    });

  test("writes the units, and writes nothing that is there already", async () => {
    const dir = project();
    const first = await install(dir, "--socket");
    expect({ exitCode: first.exitCode, stderr: first.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(first.stdout).toContain(`wrote  ${dir}/units/hrmr.service\nwrote  ${dir}/units/hrmr.socket\n`);
    expect(first.stdout).toContain("systemctl daemon-reload\n  systemctl enable --now hrmr.socket hrmr.service\n");
    expect(readFileSync(join(dir, "units/hrmr.service"), "utf8")).toStartWith("[Unit]\n");
    expect((await install(dir, "--socket")).stdout).toContain(
      `kept   ${dir}/units/hrmr.service\nkept   ${dir}/units/hrmr.socket\n`,
    );
  });

  test("replaces a unit that says something else only with --force, and then all of it", async () => {
    const dir = project();
    const path = join(dir, "units/hrmr.service");
    writeFileSync(path, "mine\n");
    const refused = await install(dir, "--socket");
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toStartWith(`${path} is there already and says something else.\n`);
    expect(readFileSync(path, "utf8")).toBe("mine\n");
    expect(existsSync(join(dir, "units/hrmr.socket"))).toBe(false);
    expect((await install(dir, "--force")).exitCode).toBe(0);
    expect(readFileSync(path, "utf8")).toStartWith("[Unit]\n");
  });

  test("says so where it may not write", async () => {
    const dir = project();
    const { exitCode, stderr } = await install(dir, "--unit-dir", "/proc/units");
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      "Cannot write /proc/units/hrmr.service (ENOENT).\nRun it as root, or without --install: then it prints what to put there.\n",
    );
  });

  test("refuses a program that cannot be started, and a folder that is not there", async () => {
    const dir = project();
    writeFileSync(join(dir, "text"), "no program");
    chmodSync(join(dir, "text"), 0o644);
    expect((await install(dir, "--exec", join(dir, "text"))).stderr).toStartWith(
      `${dir}/text is no program that can be started.\n`,
    );
    expect((await install(dir, "--dir", join(dir, "none"))).stderr).toStartWith(`There is no folder ${dir}/none.\n`);
    expect(existsSync(join(dir, "units/hrmr.service"))).toBe(false);
  });
});

const isMissing = Bun.which("systemd-analyze") === null;
describe.skipIf(isMissing)(`systemd-analyze${isMissing ? " (is not installed)" : ""}`, () => {
  /** Both units in a folder, for this machine's systemd. */
  async function installed(config: string): Promise<string> {
    const dir = project(config);
    const args = ["service", "--install", "--unit-dir", join(dir, "units"), "--socket"];
    expect((await runProgram(args, { cwd: dir })).exitCode).toBe(0);
    return join(dir, "units");
  }

  test("finds no mistake in the units", async () => {
    const units = await installed('{ "listen": ["tcp://[::1]:8080", "udp://127.0.0.1:53"] }');
    // "man" asks for pages that are not installed.
    const { exitCode, stderr } = Bun.spawnSync(
      ["systemd-analyze", "verify", "--man=no", join(units, "hrmr.service"), join(units, "hrmr.socket")],
      { stderr: "pipe" },
    );
    expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  });

  test(`finds an exposure of at most ${MAX_EXPOSURE}`, async () => {
    const units = await installed("{}");
    const { stdout } = Bun.spawnSync([
      "systemd-analyze",
      "security",
      "--offline=true",
      "--no-pager",
      join(units, "hrmr.service"),
    ]);
    const exposure = Number(/Overall exposure level for hrmr\.service: ([\d.]+)/.exec(stdout.toString())?.[1]);
    expect(exposure).toBeGreaterThan(0);
    expect(exposure).toBeLessThanOrEqual(MAX_EXPOSURE);
  });
});
