#!/usr/bin/env node
/**
 * The entry of `npx hrmr` and of a global `npm install`. hrmr is written for Bun: this finds the Bun that npm installed beside it, and runs
 * the source with it. A Bun on the PATH is not used: it may be of another version.
 */
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A smaller file is the npm package's placeholder: it stays if install scripts may not run. In bytes. */
const MIN_BUN_BYTES = 1_000_000;
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2"];

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
if (process.versions["bun"] === undefined) start(findBun(), ["--no-env-file", main, ...process.argv.slice(2)]);
else await import(main);

/** @returns {string} the path of Bun's program; ends the process if there is none */
function findBun() {
  const near = createRequire(import.meta.url);
  const bun = folderOf(near, "bun");
  const fromBun = bun === null ? near : createRequire(join(bun, "package.json"));
  const ofPlatform = folderOf(fromBun, platformPackage());
  const candidates = [
    bun === null ? null : join(bun, "bin", "bun.exe"),
    ofPlatform === null ? null : join(ofPlatform, "bin", "bun"),
  ];
  const found = candidates.find((path) => path !== null && isProgram(path));
  if (found) return found;
  console.error(`hrmr cannot find Bun, which npm installs with it (${platformPackage()}).`);
  console.error("Install hrmr again, with optional dependencies: npm install --include=optional hrmr");
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
  // Leave out the network part of the report: it asks name servers.
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
 * Becomes `bun ARGS`. Node before 22.15 cannot do that: then it starts `bun ARGS`, and passes on signals and the exit code.
 *
 * @param {string} bun
 * @param {string[]} args
 */
function start(bun, args) {
  // Not on Windows, nor in a worker.
  if (typeof process.execve === "function" && process.platform !== "win32")
    process.execve(bun, [bun, ...args], process.env);
  const child = spawn(bun, args, { stdio: "inherit" });
  const isTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
  for (const signal of SIGNALS) {
    // Ctrl-C reaches the child by itself, and a second one would end it at once.
    process.on(
      signal,
      () => void (isTerminal && signal === "SIGINT" ? undefined : child.kill(/** @type {NodeJS.Signals} */ (signal))),
    );
  }
  child.on("error", (error) => {
    console.error(`hrmr cannot start ${bun}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
}
