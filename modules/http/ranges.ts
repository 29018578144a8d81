/**
 * Range requests (RFC 9110 section 14). Several ranges get multipart/byteranges. If they overlap or are more than
 * MAX_RANGES, the whole file is the answer, as section 14.2 allows: a small request must not cost much.
 */
import { FilePiece, toStream, withFile } from "./file-body";
import { plainReply, withLength } from "./reply";
import type { Form } from "./site";

/** Document viewers ask for a handful at once. */
const MAX_RANGES = 16;

/** From `start` to before `end`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * @param condition  the If-Range header
 * @returns 206 or 416; null if the whole file is the answer: another unit, bad syntax, overlaps, a changed file
 */
export function rangeReply(form: Form, header: string, condition: string | null): Response | null {
  const { bytes } = form;
  if (bytes === 0 || !isUnchanged(form, condition)) return null;
  const ranges = readRanges(header, bytes);
  if (ranges === null) return null;
  const [first, ...more] = ranges;
  if (first === undefined) return plainReply(416, "", { "content-range": `bytes */${bytes}` });
  if (more.length > 0) return overlaps(ranges) ? null : multipart(form, ranges);
  return withLength(form, cut(form, first), 206, first.end - first.start, {
    "content-range": contentRange(first, bytes),
  });
}

/**
 * A weak tag, or a date that is as young as the file, does not prove that the parts belong together (RFC 9110 section
 * 13.1.5).
 */
function isUnchanged(form: Form, condition: string | null): boolean {
  if (condition === null) return true;
  return !form.etag.startsWith("W/") && (condition === form.etag || condition === form.lastModified);
}

/** @returns the ranges that hold bytes of the file, in their order; null if the header must be ignored */
function readRanges(header: string, bytes: number): Range[] | null {
  const list = /^bytes=(.*)$/i.exec(header.trim())?.[1]?.split(",") ?? [];
  // Empty elements do not count (RFC 9110 section 5.6.1.2).
  const texts = list.map((text) => text.trim()).filter((text) => text !== "");
  if (texts.length === 0 || texts.length > MAX_RANGES) return null;
  const ranges: Range[] = [];
  for (const text of texts) {
    const range = readRange(text, bytes);
    if (range === null) return null;
    if (range.start < range.end) ranges.push(range);
  }
  return ranges;
}

/** @returns an empty range for one that the file does not reach; null for bad syntax */
function readRange(text: string, bytes: number): Range | null {
  const [, first = "", last = ""] = /^(\d*)-(\d*)$/.exec(text) ?? [];
  if (first === "" && last === "") return null;
  if (first === "") return { start: Math.max(0, bytes - Number(last)), end: bytes };
  if (last !== "" && Number(last) < Number(first)) return null;
  return { start: Number(first), end: last === "" ? bytes : Math.min(bytes, Number(last) + 1) };
}

function overlaps(ranges: readonly Range[]): boolean {
  const sorted = ranges.toSorted((a, b) => a.start - b.start);
  return sorted.some((range, index) => range.start < (sorted[index - 1]?.end ?? 0));
}

function contentRange(range: Range, bytes: number): string {
  return `bytes ${range.start}-${range.end - 1}/${bytes}`;
}

function cut(
  { body, path, facts }: Form,
  { start, end }: Range,
): Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array> {
  if (body === null) return new FilePiece(path, facts, start, end).stream();
  // A range of a text counts bytes, not letters.
  return typeof body === "string" ? Buffer.from(body).subarray(start, end) : body.slice(start, end);
}

/** RFC 9110 section 14.6. */
function multipart(form: Form, ranges: readonly Range[]): Response {
  // Unpredictable, so that no file can hold it.
  const boundary = crypto.randomUUID();
  const heads = ranges.map((range, index) => {
    const line = `${index === 0 ? "" : "\r\n"}--${boundary}\r\n`;
    return Buffer.from(
      `${line}Content-Type: ${form.type}\r\nContent-Range: ${contentRange(range, form.bytes)}\r\n\r\n`,
    );
  });
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const length = ranges.reduce(
    (sum, range, index) => sum + (heads[index]?.length ?? 0) + range.end - range.start,
    tail.length,
  );
  const type = { "content-type": `multipart/byteranges; boundary=${boundary}` };
  const stream = toStream(parts(form, ranges, heads, tail));
  // This stream keeps the file open, but has more than the file's bytes.
  return withLength(form, form.body === null ? withFile(stream, { isWhole: false }) : stream, 206, length, type);
}

async function* parts(
  form: Form,
  ranges: readonly Range[],
  heads: readonly Buffer[],
  tail: Buffer,
): AsyncGenerator<Uint8Array, void> {
  for (const [index, range] of ranges.entries()) {
    const head = heads[index];
    if (head !== undefined) yield head;
    if (form.body === null) yield* new FilePiece(form.path, form.facts, range.start, range.end).read();
    else yield await new Response(cut(form, range)).bytes();
  }
  yield tail;
}
