/** The command line, as a user meets it: each test starts the program and looks at exit code, stdout and stderr. */
import { describe, expect, test } from "bun:test";
import { version } from "../package.json";
import { runProgram } from "./support/program";

const COMMANDS = ["start", "config", "init", "new", "send", "version", "help"];

/** Arguments, then what stderr must say: the mistake with the flag's name, and what to do. */
const REFUSED: [args: string[], what: string, todo: string][] = [
  [["--prot", "80"], "hrmr start has no flag --prot.", "Did you mean --port?"],
  [["start", "--no-watc"], "hrmr start has no flag --no-watc.", "Did you mean --no-watch?"],
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
  [["-l", "loud"], '-l takes error, warn, info, debug, not "loud".', ""],
  [["--no-daemonise"], "hrmr start has no flag --no-daemonise.", "Did you mean --no-daemonize?"],
  [["-d=yes"], '-d takes no value, and was given "yes".', ""],
  [["--set"], "--set needs a value.", ""],
  [["--set", "threads"], '--set takes KEY=VALUE, such as limits.maxBodyBytes=5000, not "threads".', "`hrmr config`"],
  [["--set", "limits.headerBytes=1"], "--set limits.headerBytes: there is no such key. Did you mean limits.maxHeaderBytes?", ""],
  [["--set", "threads=x"], '--set threads must be a whole number from 1 to 256, not "x".', ""],
  [["--set", "limits=1"], "--set limits: this is a group of keys. Name one of them, such as limits.maxConnections.", ""],
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
  [["send", "127.0.0.1", "PING"], 'hrmr send cannot reach "127.0.0.1".', "HOST:PORT"],
  [["send", "127.0.0.1:1", "PING", "--wait", "soon"], '--wait takes a whole number from 0 to 2147483647, not "soon".', ""],
  [["new", "../evil"], '"../evil" cannot be a module\'s name', "such as greet"],
  [["init"], "hrmr init needs DIR", ""],
];

describe("wrong usage", () => {
  test.each(REFUSED)("%j exits with 2 and names the mistake", async (args, what, todo) => {
    const { exitCode, stdout, stderr } = await runProgram(args);
    expect(stderr).toContain(what);
    expect(stderr).toContain(todo);
    expect(stderr.trimEnd().split("\n")).toHaveLength(2);
    expect(stdout).toBe("");
    expect(exitCode).toBe(2);
  });

  test("a bad number in the environment names its variable", async () => {
    const { exitCode, stderr } = await runProgram(["start"], { env: { HRMR_PORT: "http" } });
    expect(stderr).toContain('HRMR_PORT in the environment must be a whole number from 0 to 65535, not "http".');
    expect(exitCode).toBe(2);
  });
});

describe("help and version", () => {
  test.each([["help"], ["--help"], ["-h"]])("hrmr %s lists every command", async (word) => {
    const { exitCode, stdout, stderr } = await runProgram([word]);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ *${command}  +\\w`, "m"));
    expect(stdout).not.toContain("\u001b");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
  });

  test.each(COMMANDS)("hrmr help %s and hrmr %s --help say the same", async (command) => {
    const [asked, flagged] = await Promise.all([runProgram(["help", command]), runProgram([command, "--help"])]);
    expect(asked.stdout).toContain(`USAGE hrmr ${command}`);
    expect(flagged.stdout).toBe(asked.stdout);
    expect([asked.exitCode, flagged.exitCode]).toEqual([0, 0]);
  });

  test("the help of start tells of each of its flags", async () => {
    const { stdout } = await runProgram(["help", "start"]);
    const short = ["-p, --port", "-H, --host", "-c, --config", "-w, --processes", "-l, --log-level", "-P, --pid-file", "-d, --daemonize"];
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

  test.each([["version"], ["-V"], ["--version"]])("hrmr %s prints the version of package.json", async (word) => {
    const { exitCode, stdout } = await runProgram([word]);
    expect(stdout).toBe(`hrmr ${version}\n`);
    expect(exitCode).toBe(0);
  });
});
