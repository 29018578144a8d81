/**
 * Starts worker.ts as a Bun Worker. The URL must name a file beside this one: in the binary all entries lie in one
 * folder, so a path to another folder would not exist there. By default its environment would be that of the process's
 * start.
 */
export function spawnWorker(): Worker {
  return new Worker(new URL("./worker.ts", import.meta.url).href, {
    env: { ...process.env } as Record<string, string>,
  });
}
