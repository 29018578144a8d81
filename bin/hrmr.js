#!/usr/bin/env node
/**
 * What `npx hrmr` and a global `npm install` start: hrmr is written for Bun, so this finds the Bun that npm installed beside it, and has that run the
 * source. Nothing else on the machine is needed, and a Bun that is on the PATH is not asked: it may be of another version.
 */
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Less is the placeholder of the npm package, which stays where install scripts may not run. */
const MIN_BUN_BYTES = 1_000_000;
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2"];

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
if (process.versions["bun"] === undefined) start(findBun(), [main, ...process.argv.slice(2)]);
else await import(main);

/** @returns {string} the path of Bun's program; ends the process where there is none */
function findBun() {
  const near = createRequire(import.meta.url);
  const bun = folderOf(near, "bun");
  const fromBun = bun === null ? near : createRequire(join(bun, "package.json"));
  const ofPlatform = folderOf(fromBun, platformPackage());
  const candidates = [bun === null ? null : join(bun, "bin", "bun.exe"), ofPlatform === null ? null : join(ofPlatform, "bin", "bun")];
  const found = candidates.find((path) => path !== null && isProgram(path));
  if (found) return found;
  console.error(`hrmr cannot find Bun, which npm installs with it (${platformPackage()}).`);
  console.error("Install hrmr anew, with optional dependencies: npm install --include=optional hrmr");
  process.exit(1);
}

/** @param {NodeJS.Require} near @param {string} name @returns {string | null} */
function folderOf(near, name) {
  try {
    return dirname(near.resolve(`${name}/package.json`));
  } catch {
    return null;
  }
}

/** The package with Bun's program for this machine: `@oven/bun-linux-x64`. */
function platformPackage() {
  const arch = process.arch === "arm64" ? "aarch64" : process.arch;
  // Without its look at the network, which asks name servers.
  process.report.excludeNetwork = true;
  const { header } = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (process.report.getReport());
  const isMusl = process.platform === "linux" && header.glibcVersionRuntime === undefined;
  return `@oven/bun-${process.platform}-${arch}${isMusl ? "-musl" : ""}`;
}

/** @param {string} path */
function isProgram(path) {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > MIN_BUN_BYTES;
}

/**
 * Becomes `bun ARGS`. Where Node cannot do that (before 22.15), it starts it and passes on its signals and its end.
 *
 * @param {string} bun
 * @param {string[]} args
 */
function start(bun, args) {
  // Not on Windows, nor in a worker.
  if (typeof process.execve === "function" && process.platform !== "win32") process.execve(bun, [bun, ...args], process.env);
  const child = spawn(bun, args, { stdio: "inherit" });
  const isTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
  for (const signal of SIGNALS) {
    // Ctrl-C reaches the child by itself, and a second one would end it at once.
    process.on(signal, () => void (isTerminal && signal === "SIGINT" ? undefined : child.kill(/** @type {NodeJS.Signals} */ (signal))));
  }
  child.on("error", (error) => {
    console.error(`hrmr cannot start ${bun}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
}
