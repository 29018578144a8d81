/** The Bun inside this program, used as Bun: its package manager and test runner need nothing else on the machine. */

/** With this variable the binary acts as bun. From source, bun runs the program anyway. */
const AS_BUN = "BUN_BE_BUN";

/**
 * Runs `bun ARGS…` in the foreground of this terminal, and waits for its end.
 *
 * @param env  added to the environment
 * @returns its exit code; 128 and the signal's number if a signal ended it
 */
export async function runOwnBun(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const child = Bun.spawn([process.execPath, ...args], {
    cwd,
    env: { ...process.env, ...env, [AS_BUN]: "1" },
    stdio: ["inherit", "inherit", "inherit"],
  });
  // A terminal's signals reach the child too. The child decides how it ends.
  const ignore = (): void => {};
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, ignore);
  try {
    return await child.exited;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, ignore);
  }
}
