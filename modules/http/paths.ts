/** Turns a request's URL into names below the folder. */
import { nameOf } from "./names";

/**
 * Decodes once: a part that was encoded twice stays a literal "%2e". Bytes that are not UTF-8 become the text of such a
 * name, see `nameOf`.
 *
 * @returns null for bad encoding, and for an encoded separator, which does not separate (RFC 3986 section 2.2): no file
 *   can have such a name
 */
export function decodePath(path: string): string | null {
  if (/%(?:2f|5c|00)/i.test(path)) return null;
  try {
    return decodeURIComponent(path);
  } catch {
    return decodeBytes(path);
  }
}

/** @returns null for a percent sign without two hexadecimal digits */
function decodeBytes(path: string): string | null {
  if (/%(?![\da-f]{2})/i.test(path)) return null;
  const pieces = path.split(/((?:%[\da-f]{2})+)/i);
  return nameOf(
    Buffer.concat(
      pieces.map((piece) =>
        piece.startsWith("%") ? Buffer.from(piece.replaceAll("%", ""), "hex") : Buffer.from(piece),
      ),
    ),
  );
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

/**
 * Whether a name begins with a dot, except `.well-known` (RFC 8615), or holds characters that some systems do not
 * allow.
 */
export function isHidden(name: string): boolean {
  return (name.startsWith(".") && name !== ".well-known") || /[\\\0]/.test(name);
}

/** Whether the path means a folder: it ends in a slash or a dot segment. */
export function meansFolder(path: string): boolean {
  const last = path.slice(path.lastIndexOf("/") + 1);
  return last === "" || last === "." || last === "..";
}
