/** h2load of nghttp2 as a load: HTTP/2, and its own count of the replies. */

const CONNECTIONS = 8;
const STREAMS = 32;
const FIRST_REQUESTS = 5000;
const DEADLINE_MS = 20_000;

/** null: it is installed. */
export function whyNoH2load(): string | null {
  return Bun.which("h2load") === null ? "h2load is not installed (Debian: nghttp2-client)" : null;
}

export class H2load {
  readonly #url: string;
  readonly #bodyBytes: number;
  /** Requests in a millisecond, as the last run found. */
  #rate = 0;

  /** @param bodyBytes the bytes of each reply */
  constructor(url: string, bodyBytes: number) {
    this.#url = url;
    this.#bodyBytes = bodyBytes;
  }

  /** @throws Error if a reply failed, was missing, had another status or length, or was not HTTP/2 */
  async run(ms: number): Promise<{ requests: number; elapsedMs: number }> {
    if (this.#rate === 0) await this.#request(FIRST_REQUESTS);
    // A number, not a time: with a time, h2load drops the last requests without counting them.
    return await this.#request(Math.ceil(this.#rate * ms));
  }

  async #request(requests: number): Promise<{ requests: number; elapsedMs: number }> {
    const text = await this.#load(requests);
    check(text, requests, this.#bodyBytes);
    const elapsedMs = elapsed(text);
    this.#rate = requests / elapsedMs;
    return { requests, elapsedMs };
  }

  async #load(requests: number): Promise<string> {
    const argv = [
      "h2load",
      "-n",
      String(requests),
      "-c",
      String(CONNECTIONS),
      "-m",
      String(STREAMS),
      "-t",
      "1",
      this.#url,
    ];
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: DEADLINE_MS });
    const [text, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code ?? child.signalCode}:\n${text}${errors}`);
    return text;
  }
}

function check(text: string, requests: number, bodyBytes: number): void {
  const whole = `requests: ${requests} total, ${requests} started, ${requests} done, ${requests} succeeded, 0 failed, 0 errored, 0 timeout`;
  const statuses = `status codes: ${requests} 2xx, 0 3xx, 0 4xx, 0 5xx`;
  const bodies = Number(/\((\d+)\) data$/m.exec(text)?.[1]);
  const isHttp2 = /^Application protocol: h2c?$/m.test(text);
  if (!text.includes(whole) || !text.includes(statuses) || bodies !== requests * bodyBytes || !isHttp2)
    throw new Error(
      `h2load met something else than ${requests} right replies of ${bodyBytes} bytes by HTTP/2:\n${text}`,
    );
}

function elapsed(text: string): number {
  const [, amount, unit] = /^finished in ([\d.]+)(us|ms|s|m)\b/m.exec(text) ?? [];
  return Number(amount) * (unit === "us" ? 0.001 : unit === "ms" ? 1 : unit === "s" ? 1000 : 60_000);
}
