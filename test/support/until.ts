/** The one wait of the tests: for something to become true, never for a time to pass. */

/**
 * How long a test waits until it fails and names the missing event. Long, for a loaded machine: it decides no test
 * otherwise.
 */
export const UNTIL_MS = 20_000;
const POLL_MS = 10;
/** After a second or so: looks often cost a request to every process. */
const SLOW_POLL_MS = 50;

/**
 * Waits until `isTrue` answers with something truthy, and gives that back.
 *
 * @param what the awaited event, as a sentence for the error: "the old version has drained"
 * @param isTrue asked every 10 ms, and less often after a while; may be asynchronous. What it throws ends the wait
 * @throws Error when it did not come true within 20 s
 */
export async function until<T>(
  what: string,
  isTrue: () => T | Promise<T>,
): Promise<Exclude<T, false | null | undefined>> {
  const startedAt = performance.now();
  for (;;) {
    const value = await isTrue();
    if (value) return value as Exclude<T, false | null | undefined>;
    const tookMs = performance.now() - startedAt;
    if (tookMs > UNTIL_MS) throw new Error(`Waited ${UNTIL_MS / 1000} s in vain: ${what}`);
    await Bun.sleep(Math.min(SLOW_POLL_MS, Math.max(POLL_MS, tookMs / 20)));
  }
}

/**
 * Repeats the expectations of `check` until they hold, for figures that follow an answer: a connection that is being
 * closed, a call that is being counted, a line on its way to the log. Not for what an answer promises: that holds at
 * once, and is to be expected without this.
 *
 * @throws the last failure of `check` when it did not pass within 20 s
 */
export async function eventually(check: () => unknown): Promise<void> {
  let failure: unknown = null;
  const passes = async (): Promise<boolean> => {
    try {
      await check();
      return true;
    } catch (error) {
      failure = error;
      return false;
    }
  };
  await until("the expectations to hold", passes).catch((late: unknown) => {
    throw failure ?? late;
  });
}
