/** redis-benchmark of Redis as a load. */

const CONNECTIONS = 64;
/** Keys that it takes at random. */
const KEYS = 100_000;
const VALUE_BYTES = 32;
const FIRST_REQUESTS = 2000;
const DEADLINE_MS = 30_000;

/** null: both are installed. */
export function whyNoRedis(): string | null {
  const missing = ["redis-server", "redis-benchmark"].find((name) => Bun.which(name) === null);
  return missing === undefined ? null : `${missing} is not installed (Debian: redis-server, redis-tools)`;
}

export class RedisBenchmark {
  readonly #argv: readonly string[];
  /** Requests in a millisecond, as the last run found. */
  #rate = 0;

  /** @param test as its option -t takes it: "get" */
  constructor(port: number, test: string, pipeline: number) {
    const load = ["-c", String(CONNECTIONS), "-P", String(pipeline), "-r", String(KEYS), "-d", String(VALUE_BYTES)];
    this.#argv = ["redis-benchmark", "-p", String(port), "-t", test, ...load, "--csv"];
  }

  /** @throws Error if a reply was an error */
  async run(ms: number): Promise<{ requests: number; elapsedMs: number }> {
    if (this.#rate === 0) await this.#request(FIRST_REQUESTS);
    return await this.#request(Math.ceil(this.#rate * ms));
  }

  async #request(requests: number): Promise<{ requests: number; elapsedMs: number }> {
    const argv = [...this.#argv, "-n", String(requests)];
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: DEADLINE_MS });
    const [text, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const perSecond = Number(/^"[^"]+","([\d.]+)"/m.exec(text.slice(text.indexOf("\n") + 1))?.[1]);
    if (code !== 0 || errors !== "" || !(perSecond > 0))
      throw new Error(`${argv.join(" ")} ended with ${code ?? child.signalCode}:\n${text}${errors}`);
    this.#rate = perSecond / 1000;
    return { requests, elapsedMs: requests / this.#rate };
  }
}
