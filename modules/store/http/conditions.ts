/** If-Match and If-None-Match (RFC 9110 section 13.1). A document's entity tag is its version: "17". Pure. */

export interface Conditions {
  /** The fields. null: the request has none. */
  readonly match: string | null;
  readonly noneMatch: string | null;
}

export function conditionsOf(headers: Pick<Headers, "get">): Conditions {
  return { match: headers.get("if-match"), noneMatch: headers.get("if-none-match") };
}

/** @param version 0: there is no document */
export function allowsWrite({ match, noneMatch }: Conditions, version: number): boolean {
  if (match !== null) return names(match, version, false);
  return noneMatch === null || !names(noneMatch, version, true);
}

/**
 * Whether a list of entity tags names a version.
 *
 * @param isWeak also by a weak tag, W/"17": so it is for If-None-Match (section 13.1.2)
 */
export function names(list: string, version: number, isWeak: boolean): boolean {
  if (list.trim() === "*") return version > 0;
  for (const [, weak, tag] of list.matchAll(/(W\/)?"([^"]*)"/g))
    if (tag === String(version) && version > 0 && (isWeak || weak === undefined)) return true;
  return false;
}
