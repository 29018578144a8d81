/** Reports an error of the server's own code, as the handler of uncaught errors does, and lets the caller go on. */
export function tellBug(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
