/** The command line, as a user meets it: exit code, stdout and stderr of the commands. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { version } from "../../package.json";
import { START_ARGS } from "../../src/cli/start/flags";
import { callProgram } from "../support/call-program";
import { program, runProgram } from "../support/program";

const COMMANDS = ["start", "config", "init", "new", "send", "version", "help"];

/** Arguments, then what stderr must say: the mistake with the flag's name, and what to do. */
const REFUSED: [args: string[], what: string, todo: string][] = [
  [["--prot", "80"], "hrmr start has no flag --prot.", "Did you mean --port?"],
  [["start", "--no-watc"], "hrmr start has no flag --no-watc.", "Did you mean --no-watch?"],
  [["--verison"], "hrmr start has no flag --verison.", "Did you mean --version?"],
  [["-x"], "hrmr start has no flag -x.", "`hrmr help start`"],
  [["--no-port"], "hrmr start has no flag --no-port.", ""],
  [["--port", "eighty"], '--port takes a whole number from 0 to 65535, not "eighty".', "`hrmr help start`"],
  [["-port", "8e3"], '-port takes a whole number from 0 to 65535, not "8e3".', ""],
  [["-p", "-1"], '-p takes a whole number from 0 to 65535, not "-1".', ""],
  [["--port=65536"], '--port takes a whole number from 0 to 65535, not "65536".', ""],
  [["-threads", "0"], "-threads takes a whole number from 1 to 256", ""],
  [["--port"], "--port needs a value.", ""],
  [["--port="], "--port needs a value.", ""],
  [["--modules", "--watch"], "--modules needs a value, and --watch is a flag.", ""],
  [["--watch=yes"], '--watch takes no value, and was given "yes".', ""],
  [["--commands", "lopback"], "--commands takes anyone, loopback, token, off", "Did you mean loopback?"],
  [["--listen", "http://x:1"], '--listen cannot take "http://x:1".', "unix:///path"],
  [["--listen", "tcp://127.0.0.1:0", "--port", "1"], "--port and --listen say different things.", ""],
  [["-w", "many"], '-w takes a whole number from 0 to 256, not "many".', "`hrmr help start`"],
  [["-l", "loud"], '-l takes critical, error, warn, info, debug, trace, not "loud".', ""],
  [["--no-daemonise"], "hrmr start has no flag --no-daemonise.", "Did you mean --no-daemonize?"],
  [["-d=yes"], '-d takes no value, and was given "yes".', ""],
  [["--set"], "--set needs a value.", ""],
  [["--set", "threads"], '--set takes KEY=VALUE, such as limits.maxBodyBytes=5000, not "threads".', "`hrmr config`"],
  [
    ["--set", "limits.headerBytes=1"],
    "--set limits.headerBytes: there is no such key. Did you mean limits.maxHeaderBytes?",
    "",
  ],
  [["--set", "threads=x"], '--set threads must be a whole number from 1 to 256, not "x".', ""],
  [
    ["--set", "limits=1"],
    "--set limits: this is a group of keys. Name one of them, such as limits.maxConnections.",
    "",
  ],
  [["--set", "modules.a.run=poll"], '--set modules.a.run must be one of "inline", "pool", "process", not "poll".', ""],
  [
    ["--set", "modules.a.timeouts.load=1"],
    "--set modules.a.timeouts.load: there is no such key. Did you mean modules.a.timeouts.loadMs?",
    "",
  ],
  [["config", "--set", "http.uses=a"], "--set http.uses: there is no such key. Did you mean http.use?", ""],
  [["--host", "a b"], '--host cannot take "a b".', "an IP address"],
  [["start", "now"], 'hrmr start takes no arguments, and "now" is one too many.', ""],
  [["strat"], 'hrmr has no command "strat".', "Did you mean hrmr start?"],
  [["help", "frobnicate"], 'hrmr has no command "frobnicate".', "`hrmr help`"],
  [["send", "127.0.0.1:1"], "hrmr send needs TEXT", "`hrmr help send`"],
  [["send", "127.0.0.1:1", "PING", "PONG"], '"PONG" is one too many', ""],
  [["send", "127.0.0.1", "PING"], 'hrmr cannot reach "127.0.0.1".', "HOST:PORT"],
  [
    ["send", "127.0.0.1:1", "PING", "--wait", "soon"],
    '--wait takes a whole number from 0 to 2147483647, not "soon".',
    "",
  ],
  [["new", "../evil"], '"../evil" cannot be a module\'s name', "such as greet"],
  [["init"], "hrmr init needs DIR", ""],
];

describe("wrong usage", () => {
  test.each(REFUSED)("%j exits with 2 and names the mistake", async (args, what, todo) => {
    const { exitCode, stdout, stderr } = await callProgram(args);
    expect(stderr).toContain(what);
    expect(stderr).toContain(todo);
    expect(stderr.trimEnd().split("\n")).toHaveLength(2);
    expect(stdout).toBe("");
    expect(exitCode).toBe(2);
  });

  test("the program itself says the same", async () => {
    for (const args of [["--prot", "80"], ["start", "--threads", "0"], ["help"], ["help", "start"], ["version"]]) {
      expect([args, await runProgram(args)]).toEqual([args, await callProgram(args)]);
    }
  });

  test("a bad number in the environment names its variable", async () => {
    const { exitCode, stderr } = await callProgram(["start"], { env: { HRMR_PORT: "http" } });
    expect(stderr).toContain('HRMR_PORT in the environment must be a whole number from 0 to 65535, not "http".');
    expect(exitCode).toBe(2);
  });
});

describe("help and version", () => {
  test.each([["help"], ["--help"], ["-h"]])("hrmr %s lists every command", async (word) => {
    const { exitCode, stdout, stderr } = await callProgram([word]);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ *${command}  +\\w`, "m"));
    expect(stdout).not.toContain("\u001b");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
  });

  test.each(COMMANDS)("hrmr help %s and hrmr %s --help say the same", async (command) => {
    const [asked, flagged] = await Promise.all([callProgram(["help", command]), callProgram([command, "--help"])]);
    expect(asked.stdout).toContain(`USAGE hrmr ${command}`);
    expect(flagged.stdout).toBe(asked.stdout);
    expect([asked.exitCode, flagged.exitCode]).toEqual([0, 0]);
  });

  test("no help is wider than 80 columns, and no word is cut", async () => {
    const all = (await callProgram(["help"])).stdout;
    const commands = [...section(all, "COMMANDS").matchAll(/^ {2}(\w+)/gm)].map((match) => match[1] ?? "");
    expect(commands.length).toBeGreaterThan(20);
    const helps: string[] = [];
    for (const command of commands) helps.push((await callProgram(["help", command])).stdout);
    for (const help of [all, ...helps]) {
      expect(help.split("\n").filter((line) => line.length > 80)).toEqual([]);
      expect(help).toMatch(/^USAGE hrmr \S/m);
    }
    // The texts of the table of flags are there word for word, wherever lines break.
    const start = helps[commands.indexOf("start")]?.replaceAll(/\s+/g, " ");
    for (const flag of Object.values(START_ARGS)) expect(start).toContain(flag.description);
    expect(helps[commands.indexOf("send")]).toContain("USAGE hrmr send [OPTIONS] [ADDRESS] TEXT\n");
  });

  test.each([
    ["dev", "hrmr start --watch"],
    ["ps", "hrmr status"],
    ["list", "hrmr modules"],
    ["ls", "hrmr modules"],
    ["serve", "hrmr start"],
    ["deploy", "hrmr push"],
    ["stauts", "hrmr status"],
    ["realod", "hrmr reload"],
    ["STOP", "hrmr stop"],
  ])("hrmr %s is answered with the command that was meant: %s", async (word, meant) => {
    for (const args of [[word], ["help", word]]) {
      const { exitCode, stderr } = await callProgram(args);
      expect(stderr).toBe(`hrmr has no command ${JSON.stringify(word)}.\nDid you mean ${meant}?\n`);
      expect(exitCode).toBe(2);
    }
  });

  test("a folder's name in place of a command gets a hint", async () => {
    const { exitCode, stderr } = await callProgram(["docs"], { cwd: join(import.meta.dir, "../..") });
    expect(stderr).toBe(
      'hrmr has no command "docs".\nIt is a folder: cd docs && hrmr starts the server of a project.\n',
    );
    expect(exitCode).toBe(2);
  });

  test.each(["logs"])("hrmr %s says in one line that it comes with a later version", async (word) => {
    const { exitCode, stderr } = await callProgram([word, "-x"]);
    expect(stderr).toMatch(new RegExp(`^\\S*hrmr ${word}\\S* comes with a later version; .*\n$`));
    expect(exitCode).toBe(2);
  });

  test("the help of start tells of each of its flags", async () => {
    const { stdout } = await callProgram(["help", "start"]);
    const short = [
      "-p, --port",
      "-H, --host",
      "-c, --config",
      "-w, --processes",
      "-l, --log-level",
      "-P, --pid-file",
      "-d, --daemonize",
    ];
    const long = [
      "--listen",
      "--threads",
      "--modules",
      "--static",
      "--state",
      "--watch",
      "--commands",
      "--set",
      "--control",
      "--access-log",
    ];
    const endpoints = ["health", "ready", "stats", "metrics"].map((name) => `--no-${name}-endpoint`);
    for (const flag of [...short, ...long, ...endpoints]) expect(stdout).toContain(flag);
  });

  test("hrmr -V, version --verbose and version --json print the build", async () => {
    const [short, long, json] = await Promise.all(
      ["-V", "version --verbose", "version --json"].map((line) => runProgram(line.split(" "))),
    );
    expect(short?.stdout).toBe(long?.stdout ?? "");
    const details = JSON.parse(json?.stdout ?? "") as Record<string, unknown>;
    expect(details).toMatchObject({
      version,
      bun: Bun.version,
      target: `${process.platform}-${process.arch}`,
      binary: program().length === 1,
    });
    const { commit, bun, target, path } = details;
    // A checkout without its history has none.
    expect(commit ?? "0123456789ab").toMatch(/^[0-9a-f]{12}(-dirty)?$/);
    expect(long?.stdout).toStartWith(
      `hrmr ${version}\ncommit  ${(commit as string | null) ?? "unknown"}\nbun     ${bun as string} (`,
    );
    expect(long?.stdout).toContain(`\ntarget  ${target as string}\n`);
    expect(long?.stdout).toEndWith(` ${path as string}\n`);
  });

  test.each(["version", "-v", "--version", "start -v"])("hrmr %s prints the version of package.json", async (words) => {
    const { exitCode, stdout } = await callProgram(words.split(" "));
    expect(stdout).toBe(`hrmr ${version}\n`);
    expect(exitCode).toBe(0);
  });
});

/** The lines below a heading of the help, to its next one. */
function section(help: string, heading: string): string {
  return help.split(`\n${heading}\n`)[1]?.split("\n\n")[0] ?? "";
}
