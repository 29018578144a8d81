/** A process that swaps the target of a name as fast as it can: for races between checking a name and using it. */

const EXCHANGE = `
const { renameSync, rmSync, symlinkSync } = require("node:fs");
const [name, ...targets] = process.argv.slice(1);
const end = Date.now() + 60_000;
for (let at = 0; Date.now() < end; at++) {
  rmSync(name + ".next", { force: true });
  symlinkSync(targets[at % targets.length], name + ".next");
  // Atomic: the name is always there.
  renameSync(name + ".next", name);
  if (at === 1) console.log("exchanging");
}`;

/**
 * Makes `name` a link to each of the targets in turn, until it is disposed (a minute at most).
 *
 * @returns once it has begun
 */
export async function exchanging(name: string, targets: readonly string[]): Promise<AsyncDisposable> {
  const child = Bun.spawn([process.execPath, "-e", EXCHANGE, name, ...targets], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  await child.stdout.getReader().read();
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
