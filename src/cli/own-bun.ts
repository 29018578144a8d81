/** The Bun inside this program, in the foreground. */
import { ownBun } from "../system/self";

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
  const own = ownBun(args, env);
  const child = Bun.spawn([...own.command], {
    cwd,
    env: own.env,
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
