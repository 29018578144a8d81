/** From a request's URL to names below the folder. */

/**
 * Decodes once: what was encoded twice stays a literal "%2e".
 *
 * @returns null for bad encoding, and for an encoded separator, which is no separator (RFC 3986 section 2.2): such a name cannot exist
 */
export function decodePath(path: string): string | null {
  if (/%(?:2f|5c|00)/i.test(path)) return null;
  try {
    return decodeURIComponent(path);
  } catch {
    return null;
  }
}

/** Resolves dot segments without ever rising above the root. null: a name that is never served. */
export function segments(path: string): string[] | null {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else if (isHidden(name)) return null;
    else names.push(name);
  }
  return names;
}

/** Names that begin with a dot, but for `.well-known` (RFC 8615); and what no name can hold on every system. */
export function isHidden(name: string): boolean {
  return (name.startsWith(".") && name !== ".well-known") || /[\\\0]/.test(name);
}

/** Whether the path means a folder: it ends in a slash or a dot segment. */
export function meansFolder(path: string): boolean {
  const last = path.slice(path.lastIndexOf("/") + 1);
  return last === "" || last === "." || last === "..";
}
