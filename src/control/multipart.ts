/**
 * Files in a multipart/form-data body (RFC 7578), as `curl -F file=@greet.ts` sends them.
 */
import type { ModuleContent } from "../reload/upload/names";
import { badRequest, type Refused } from "./reply";

const HINT =
  "Send files as `curl -F file=@greet.ts` does; a path in a folder module as -F 'file=@lib/words.json;filename=lib/words.json'.";
/** The most bytes of a part's header. */
const MAX_PART_HEAD_BYTES = 4096;
const HEAD_END = "\r\n\r\n";

/** @returns the boundary of the body; null: another type. @throws Refused for one without a boundary */
export function boundaryOf(contentType: string): string | null {
  if (!/^multipart\/form-data\b/i.test(contentType)) return null;
  const match = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw malformed("its Content-Type names no boundary");
  return boundary;
}

/**
 * @param maxFiles more parts are refused before they are read
 * @returns the parts with their filenames, which are not checked here
 * @throws Refused for an incomplete body, or a part that is no file
 */
export function readMultipart(body: Buffer, boundary: string, maxFiles: number, tooMany: Refused): ModuleContent[] {
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const opening = delimiter.subarray(2);
  if (!body.subarray(0, opening.length).equals(opening)) throw malformed("it does not begin with its boundary");
  const files: ModuleContent[] = [];
  for (let at = opening.length; ;) {
    const mark = body.toString("latin1", at, at + 2);
    if (mark === "--") return files;
    if (mark !== "\r\n") throw malformed("a boundary is not the end of its line");
    if (files.length === maxFiles) throw tooMany;
    const end = body.indexOf(delimiter, at);
    if (end === -1) throw malformed("its end is missing");
    files.push(readPart(body.subarray(at + 2, end)));
    at = end + delimiter.length;
  }
}

function readPart(part: Buffer): ModuleContent {
  const end = part.subarray(0, MAX_PART_HEAD_BYTES).indexOf(HEAD_END);
  if (end === -1) throw malformed("a part has no header, or too long a one");
  const head = part.toString("utf8", 0, end);
  const disposition = /^content-disposition:\s*form-data\s*(;.*)$/im.exec(head)?.[1] ?? "";
  const path = filenameOf(disposition);
  if (path !== null) return { path, bytes: part.subarray(end + HEAD_END.length) };
  const field = /;\s*name="([^"]{1,40})"/.exec(disposition)?.[1] ?? "";
  throw malformed(`the part ${JSON.stringify(field)} has no filename`);
}

/**
 * The form that browsers and curl write: in quotes, with `"` and line ends as %22, %0D and %0A; older ones write `\"`.
 */
function filenameOf(disposition: string): string | null {
  const match = /;\s*filename=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition);
  if (match === null) return null;
  return match[1]?.replace(/\\(["\\])/g, "$1") ?? match[2] ?? null;
}

function malformed(why: string): Refused {
  return badRequest(`The body is not multipart/form-data as it should be: ${why}.`, HINT);
}
