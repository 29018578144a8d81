/** The allowed answers at each time, and clients that ask without a pause and check each answer. */
import { RawClient } from "../../test/support/client";

export const NAMES = ["alpha", "beta", "gamma", "delta"] as const;
export type Name = (typeof NAMES)[number];

/** A module's answer: the number of its version; null: there is no such module. */
export type Value = number | null;

interface Span {
  readonly from: number;
  until: number;
}

/** Times by performance.now(). */
export class Truth {
  readonly #spans = new Map<string, Span[]>();
  /** In which calls of this module, or of all, may be lost. */
  readonly #losses: (Span & { name: Name | null })[] = [];

  /** Allows this answer until the next `only`. */
  may(name: Name, value: Value): void {
    const spans = this.#of(name, value);
    if (spans.at(-1)?.until !== Infinity) spans.push({ from: performance.now(), until: Infinity });
  }

  /** Acknowledged: from now on only this answer is right. */
  only(name: Name, value: Value): void {
    this.may(name, value);
    const kept = key(name, value);
    for (const [each, spans] of this.#spans) {
      const last = spans.at(-1);
      if (each !== kept && each.startsWith(`${name} `) && last?.until === Infinity) last.until = performance.now();
    }
  }

  isTrue(name: Name, value: Value, askedAt: number): boolean {
    return this.#of(name, value).some(({ until }) => until >= askedAt);
  }

  /** Calls may be lost until the returned function is called. @param name the module. null: all */
  lose(name: Name | null): () => void {
    const span = { name, from: performance.now(), until: Infinity };
    this.#losses.push(span);
    return () => void (span.until = performance.now());
  }

  mayBeLost(name: Name, askedAt: number): boolean {
    return this.#losses.some((span) => (span.name === null || span.name === name) && span.until >= askedAt);
  }

  #of(name: Name, value: Value): Span[] {
    const found = this.#spans.get(key(name, value));
    if (found !== undefined) return found;
    const made: Span[] = [];
    this.#spans.set(key(name, value), made);
    return made;
  }
}

export interface LoadTally {
  answered: number;
  /** Calls lost around a kill, which is allowed. */
  lost: number;
  /** Wrong answers, and calls lost without a kill. */
  readonly wrong: string[];
}

const PACE_MS = 3;
const ANSWER_MS = 8000;
const MAX_WRONG = 50;

/** Clients of every module: by HTTP, and by raw lines if the module is always present. */
export class Load {
  readonly tally: LoadTally = { answered: 0, lost: 0, wrong: [] };
  #isStopped = false;
  readonly #loops: Promise<void>[];

  constructor(
    readonly port: number,
    readonly truth: Truth,
    rawNames: readonly Name[],
  ) {
    const raw = rawNames.map((name) => this.#run(name, new RawAsker(port, name)));
    this.#loops = [
      ...raw,
      ...NAMES.map((name) => this.#run(name, { ask: () => askHttp(port, name), close: () => {} })),
    ];
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#loops);
  }

  async #run(name: Name, asker: Asker): Promise<void> {
    while (!this.#isStopped && this.tally.wrong.length < MAX_WRONG) {
      const askedAt = performance.now();
      const answer = await asker
        .ask()
        .catch((error: unknown) => `lost: ${error instanceof Error ? error.message : String(error)}`);
      this.#note(name, answer, askedAt);
      await Bun.sleep(PACE_MS);
    }
    asker.close();
  }

  #note(name: Name, answer: Value | string, askedAt: number): void {
    if (typeof answer !== "string" && this.truth.isTrue(name, answer, askedAt)) this.tally.answered++;
    else if (typeof answer === "string" && this.truth.mayBeLost(name, askedAt)) this.tally.lost++;
    else this.tally.wrong.push(`${name} answered ${String(answer)}`);
  }
}

interface Asker {
  /** @returns the answer; a text: another reply. Rejects if the connection is lost. */
  ask(): Promise<Value | string>;
  close(): void;
}

class RawAsker implements Asker {
  #client: RawClient | null = null;

  constructor(
    readonly port: number,
    readonly name: Name,
  ) {}

  async ask(): Promise<Value | string> {
    try {
      this.#client ??= await RawClient.connect(this.port);
      await this.#client.clear().send(`${this.name.toUpperCase()}\n`);
      return readAnswer(this.name, await this.#client.waitFor("\n")).value;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }
}

/** @returns a number, null for a 404, or the text of another reply */
export async function askHttp(port: number, name: Name): Promise<Value | string> {
  const response = await fetch(`http://127.0.0.1:${port}/${name}`, { signal: AbortSignal.timeout(ANSWER_MS) });
  const text = await response.text();
  if (response.status === 404) return null;
  return response.status === 200 ? readAnswer(name, text).value : `${response.status} ${text}`;
}

/** "alpha 7 4711": the module, its version, and the process that answered. */
export function readAnswer(name: Name, line: string): { value: Value | string; pid: number } {
  const [, said, digits, pid] = /^(\w+) (\d+) (\d+)\n$/.exec(line) ?? [];
  return said === name ? { value: Number(digits), pid: Number(pid) } : { value: line.trim(), pid: 0 };
}

function key(name: Name, value: Value): string {
  return `${name} ${value}`;
}
