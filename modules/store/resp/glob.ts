/** Patterns of KEYS, SCAN and PSUBSCRIBE: `*`, `?`, `[a-z]`, `[^a]` and `\` before a letter that means itself. Pure. */

/** @returns whether a text matches; in time that grows with pattern times text, whatever the pattern is */
export type Matcher = (text: string) => boolean;

interface One {
  /** null: any text, `*`. */
  readonly fits: ((letter: string) => boolean) | null;
}

export function globMatcher(pattern: string): Matcher {
  const steps = stepsOf(pattern);
  return (text) => matches(steps, [...text]);
}

/** @returns the letters in front of the first special one: every match begins with them */
export function literalPrefix(pattern: string): string {
  return /^[^*?[\\]*/.exec(pattern)?.[0] ?? "";
}

/** @returns whether the pattern is one text and nothing else */
export function isLiteral(pattern: string): boolean {
  return literalPrefix(pattern) === pattern;
}

/** Goes back to the last `*` only: an earlier one need never take more. */
function matches(steps: readonly One[], letters: readonly string[]): boolean {
  let step = 0;
  let at = 0;
  let star = -1;
  let starAt = 0;
  while (at < letters.length) {
    const { fits } = steps[step] ?? { fits: undefined };
    if (fits === null) {
      star = step++;
      starAt = at;
    } else if (fits !== undefined && fits(letters[at] as string)) {
      step++;
      at++;
    } else if (star === -1) return false;
    else {
      step = star + 1;
      at = ++starAt;
    }
  }
  while (steps[step]?.fits === null) step++;
  return step === steps.length;
}

function stepsOf(pattern: string): One[] {
  const letters = [...pattern];
  const steps: One[] = [];
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at] as string;
    if (letter === "*") {
      if (steps.at(-1)?.fits !== null || steps.length === 0) steps.push({ fits: null });
    } else if (letter === "?") steps.push({ fits: () => true });
    else if (letter === "[") {
      const { fits, end } = classOf(letters, at + 1);
      steps.push({ fits });
      at = end;
    } else {
      const plain = letter === "\\" && at + 1 < letters.length ? (letters[++at] as string) : letter;
      steps.push({ fits: (other) => other === plain });
    }
  }
  return steps;
}

/** @param from behind the bracket. @returns `end`: the place of the closing one, or of the last letter */
function classOf(letters: readonly string[], from: number): { fits: (letter: string) => boolean; end: number } {
  const isNot = letters[from] === "^";
  const tests: ((letter: string) => boolean)[] = [];
  let at = isNot ? from + 1 : from;
  for (; at < letters.length && letters[at] !== "]"; at++) {
    if (letters[at] === "\\" && at + 1 < letters.length) at++;
    const first = letters[at] as string;
    if (letters[at + 1] === "-" && at + 2 < letters.length) {
      const [low, high] = [first, letters[at + 2] as string].sort();
      tests.push((letter) => letter >= (low as string) && letter <= (high as string));
      at += 2;
    } else tests.push((letter) => letter === first);
  }
  return { fits: (letter) => tests.some((each) => each(letter)) !== isNot, end: Math.min(at, letters.length - 1) };
}
