/** The path of a key in a configuration. */

/** Names from the outermost to the innermost; a number is an index of a list. */
export type KeyPath = readonly (string | number)[];

/** `tls.sni[0].keyFile` */
export function formatPath(path: KeyPath): string {
  return path.map((step, at) => (typeof step === "number" ? `[${step}]` : at === 0 ? step : `.${step}`)).join("");
}

/** The value at `path` in `value`; undefined if there is none. */
export function valueAt(value: unknown, path: KeyPath): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}
