/** Tells how far a long command is: a bar on a terminal, nothing elsewhere. */

const BAR_CELLS = 24;
const EVERY_MS = 100;

export class ProgressBar {
  readonly #what: string;
  readonly #of: number;
  readonly #isShown = process.stderr.isTTY === true;
  #shownAt = 0;

  /** @param what "copied". @param of  of how many; 0: nobody knows */
  constructor(what: string, of: number) {
    this.#what = what;
    this.#of = of;
  }

  readonly tell = (count: number): void => {
    if (!this.#isShown || performance.now() - this.#shownAt < EVERY_MS) return;
    this.#shownAt = performance.now();
    process.stderr.write(`\r${barLine(this.#what, count, this.#of)}\u001b[K`);
  };

  /** Takes the bar away. */
  end(): void {
    if (this.#isShown && this.#shownAt > 0) process.stderr.write("\r\u001b[K");
  }
}

/** "[#####-------] 45% 4,500 of 10,000 documents copied". Pure */
function barLine(what: string, count: number, of: number): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  if (of === 0) return `${number(count)} documents ${what}`;
  const share = Math.min(1, count / of);
  const full = Math.round(share * BAR_CELLS);
  const bar = "#".repeat(full) + "-".repeat(BAR_CELLS - full);
  return `[${bar}] ${Math.floor(share * 100)}% ${number(count)} of ${number(of)} documents ${what}`;
}
