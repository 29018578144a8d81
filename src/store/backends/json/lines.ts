/**
 * The file of a JSON store: a line for each document, and behind them the changes since, batch by batch. Each batch ends
 * with a line that has its checksum. Pure.
 *
 *     {"hrmr":"store","format":1,"version":41,"clock":1767225600000}
 *     {"collection":"scores","key":"ann","version":41,"value":{"wins":3}}
 *     {"change":42,"collection":"scores","key":"bob","value":{"wins":1}}
 *     {"change":43,"collection":"scores","key":"ann","gone":"delete"}
 *     {"commit":43,"clock":1767225600123,"sum":"0f3a…"}
 */
import type { StoredChange, StoredDocument, StoredEntry } from "../../../module/store/port";

const FORMAT = 1;
const NEWLINE = 0x0a;

/** @param clock the store's, in milliseconds since 1970 */
export function headLine(version: number, clock: number): string {
  return `{"hrmr":"store","format":${FORMAT},"version":${version},"clock":${clock}}\n`;
}

export function documentLine({
  collection,
  key,
  version,
  expiresAt,
  text,
}: StoredEntry & { readonly collection: string }): string {
  return `{${nameOf(collection, key)},"version":${version}${endOf(expiresAt)},"value":${oneLine(text)}}\n`;
}

/** @param document that the change leaves. null: none */
export function changeLine(change: StoredChange, document: StoredDocument | null): string {
  const head = `{"change":${change.version},${nameOf(change.collection, change.key)}`;
  if (document === null) return `${head},"gone":"${change.kind}"}\n`;
  return `${head}${endOf(document.expiresAt)},"value":${oneLine(document.text)}}\n`;
}

function nameOf(collection: string, key: string): string {
  return `"collection":${JSON.stringify(collection)},"key":${JSON.stringify(key)}`;
}

function endOf(expiresAt: number | null): string {
  return expiresAt === null ? "" : `,"expiresAt":${expiresAt}`;
}

/** JSON has line ends between its parts only: within a string they are escaped. */
function oneLine(text: string): string {
  return text.includes("\n") || text.includes("\r") ? text.replace(/[\r\n]/g, " ") : text;
}

/** Of a batch. */
interface BatchEnd {
  readonly version: number;
  /** The store's, in milliseconds since 1970. */
  readonly clock: number;
  /** It is not on the disk when the next one is written. */
  readonly isRelaxed: boolean;
}

/** The bytes of a batch. @param lines those of its changes */
export function batchBytes(lines: string, { version, clock, isRelaxed }: BatchEnd): Uint8Array {
  const body = Buffer.from(lines);
  const relaxed = isRelaxed ? ',"relaxed":true' : "";
  const end = `{"commit":${version},"clock":${clock},"sum":"${sumOf(body)}"${relaxed}}\n`;
  return Buffer.concat([body, Buffer.from(end)]);
}

function sumOf(bytes: Uint8Array): string {
  return Bun.hash.xxHash64(bytes).toString(16).padStart(16, "0");
}

/** What a file holds. */
export interface Read {
  /** Of the newest change. */
  readonly version: number;
  /** The store's, when it was written last. 0: nobody knows. */
  readonly clock: number;
  readonly collections: Map<string, Map<string, StoredDocument>>;
  /** In the order of their versions: all behind `forgottenTo`. */
  readonly changes: readonly StoredChange[];
  readonly forgottenTo: number;
  /** The file's bytes that hold, from its beginning. What follows was being written when the server ended. */
  readonly wholeBytes: number;
  /** Bytes of documents, ahead of the changes. */
  readonly documentBytes: number;
  /** Somebody has added documents by hand. They have got a version here: write the file anew. */
  readonly isEdited: boolean;
}

/** A file that cannot be read as a store. */
export class UnreadableFile extends Error {
  /** @param code NOT_A_STORE, NEWER_SCHEMA or FAILED. @param message ends a sentence that begins with the file's name */
  constructor(
    readonly code: "NOT_A_STORE" | "NEWER_SCHEMA" | "FAILED",
    message: string,
  ) {
    super(message);
  }
}

/** @throws UnreadableFile */
export function readLines(bytes: Uint8Array): Read {
  return new Reader(bytes).read();
}

/** A line that has been parsed. */
interface Line {
  /** From 1 on. */
  readonly number: number;
  /** Its first byte's place. */
  readonly start: number;
  readonly fields: Record<string, unknown>;
  /** JSON of the field "value". null: there is none. */
  readonly value: string | null;
}

interface ReadChange {
  readonly change: StoredChange;
  /** null: it is gone. */
  readonly document: StoredDocument | null;
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #collections = new Map<string, Map<string, StoredDocument>>();
  readonly #changes: StoredChange[] = [];
  readonly #added: { collection: string; key: string; text: string; expiresAt: number | null }[] = [];
  #version = 0;
  #clock = 0;
  #at = 0;
  #number = 0;
  #isEdited = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(): Read {
    this.#head();
    const documentBytes = this.#documents();
    const forgottenTo = this.#version;
    const wholeBytes = this.#batches(documentBytes);
    for (const { collection, key, text, expiresAt } of this.#added) {
      const version = ++this.#version;
      this.#put(collection, key, { text, expiresAt, version });
      this.#changes.push({ version, collection, key, kind: "set", text });
    }
    return {
      version: this.#version,
      clock: this.#clock,
      collections: this.#collections,
      changes: this.#changes,
      forgottenTo,
      wholeBytes,
      documentBytes,
      isEdited: this.#isEdited || this.#added.length > 0,
    };
  }

  #head(): void {
    const head = this.#next();
    const format = head?.fields["format"];
    if (head === null || head.fields["hrmr"] !== "store" || typeof format !== "number")
      throw new UnreadableFile("NOT_A_STORE", 'is not a store: its first line is not {"hrmr":"store",…}');
    if (format > FORMAT)
      throw new UnreadableFile(
        "NEWER_SCHEMA",
        `was written by a newer version of hrmr (format ${format}; this one reads ${FORMAT}). Use that version`,
      );
    this.#version = versionOf(head, "version");
    this.#readClock(head);
  }

  /** @returns where the changes begin */
  #documents(): number {
    for (let start = this.#at; ; start = this.#at) {
      const line = this.#next();
      if (line !== null && "key" in line.fields && !("change" in line.fields)) {
        this.#document(line);
        continue;
      }
      // The first line of the changes, or what is left of it.
      if (line !== null) this.#number--;
      this.#at = start;
      return start;
    }
  }

  #document(line: Line): void {
    const { collection, key } = nameIn(line);
    if (this.#collections.get(collection)?.has(key) === true)
      throw lineError(line, `has "${key}" of ${collection} for the second time. Remove one of them`);
    const expiresAt = endIn(line);
    if (line.fields["version"] === undefined) {
      this.#added.push({ collection, key, expiresAt, text: valueIn(line) });
      return;
    }
    const version = versionOf(line, "version");
    this.#version = Math.max(this.#version, version);
    this.#put(collection, key, { text: valueIn(line), version, expiresAt });
  }

  /** @returns the end of the last whole batch */
  #batches(start: number): number {
    for (let whole = start; ; whole = this.#at) {
      const batch = this.#batch(whole);
      if (batch === null) return whole;
      for (const { change, document } of batch) {
        if (change.version <= this.#version) throw this.#disordered(change);
        this.#version = change.version;
        this.#changes.push(change);
        if (document === null) this.#collections.get(change.collection)?.delete(change.key);
        else this.#put(change.collection, change.key, document);
      }
    }
  }

  /** @returns null: the file ends, or the rest was being written when the server ended */
  #batch(start: number): ReadChange[] | null {
    const changes: ReadChange[] = [];
    for (;;) {
      const line = this.#next();
      if (line === null) {
        if (!this.#isTorn()) throw this.#broken();
        return null;
      }
      if ("commit" in line.fields) {
        const sum = line.fields["sum"];
        if (sum !== undefined && sum !== sumOf(this.#bytes.subarray(start, line.start)))
          throw lineError(
            line,
            'has a checksum that does not match the changes above it. If you have edited them, take "sum" out of this ' +
              "line. If not, the file is damaged: take a backup",
          );
        this.#readClock(line);
        return changes;
      }
      changes.push(changeIn(line));
    }
  }

  /**
   * Whether the rest was being written when the server or the machine stopped: nothing in it was on the disk before the
   * next batch was begun.
   */
  #isTorn(): boolean {
    const rest = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, this.#bytes.length - this.#at);
    const text = rest.toString("latin1");
    const start = /^[^\n]{0,9}/.exec(text)?.[0] ?? "";
    const isBatch = ["", '{"change"', '{"commit"'].some((begin) => begin.startsWith(start)) || start.startsWith("\0");
    if (!isBatch || /^\{"collection"/m.test(text)) return false;
    const commits = [...text.matchAll(/^\{"commit":\d.*\}\n/gm)].map(([line]) => line);
    // The first of them may be the end of the torn batch.
    const others = start.startsWith('{"commit"') ? commits : commits.slice(1);
    return others.every((line) => line.includes('"relaxed":true'));
  }

  #readClock({ fields: { clock } }: Line): void {
    if (Number.isSafeInteger(clock)) this.#clock = Math.max(this.#clock, clock as number);
  }

  #disordered({ version }: StoredChange): UnreadableFile {
    return new UnreadableFile(
      "FAILED",
      `cannot be read: change ${version}, above line ${this.#number}, stands behind version ${this.#version}. Take a backup`,
    );
  }

  #broken(): UnreadableFile {
    return new UnreadableFile(
      "FAILED",
      `cannot be read from line ${this.#number + 1} on: it is not JSON. Mend that line, or take a backup`,
    );
  }

  #put(collection: string, key: string, document: StoredDocument): void {
    const documents = this.#collections.get(collection);
    if (documents === undefined) this.#collections.set(collection, new Map([[key, document]]));
    else documents.set(key, document);
  }

  /** @returns null: there is none, or it cannot be read; the place stays there */
  #next(): Line | null {
    for (;;) {
      const start = this.#at;
      const newline = this.#bytes.indexOf(NEWLINE, start);
      const end = newline === -1 ? this.#bytes.length : newline;
      const text = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start).toString();
      const isLast = newline === -1;
      // Editors leave empty lines.
      if (text.trim() === "" && !isLast) {
        this.#skip(newline + 1);
        continue;
      }
      const parsed = parseLine(text);
      // A change without its line end was being written. A document without one was edited.
      if (parsed === null || (isLast && "change" in parsed.fields) || (isLast && "commit" in parsed.fields))
        return null;
      this.#isEdited ||= isLast;
      this.#skip(isLast ? end : end + 1);
      return { number: this.#number, start, ...parsed };
    }
  }

  #skip(to: number): void {
    this.#at = to;
    this.#number++;
  }
}

/** A line as hrmr writes it: its value is checked, and kept as it stands there. */
const WRITTEN =
  /^\{(?:"change":(?<change>\d+),)?"collection":(?<collection>"(?:[^"\\]|\\.)*"),"key":(?<key>"(?:[^"\\]|\\.)*"),(?:"version":(?<version>\d+),)?(?:"expiresAt":(?<expiresAt>\d+),)?"value":(?<value>.*)\}$/s;

/** @returns null: it is not a JSON object */
function parseLine(text: string): Pick<Line, "fields" | "value"> | null {
  const written = WRITTEN.exec(text)?.groups;
  if (written !== undefined && isJson(written["value"] as string)) {
    const fields: Record<string, unknown> = {};
    for (const name of ["change", "collection", "key", "version", "expiresAt"])
      if (written[name] !== undefined) fields[name] = JSON.parse(written[name]);
    return { fields, value: written["value"] as string };
  }
  const fields = isJson(text) ? (JSON.parse(text) as unknown) : null;
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) return null;
  return {
    fields: fields as Record<string, unknown>,
    value: "value" in fields ? JSON.stringify(fields.value) : null,
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function lineError({ number }: Line, message: string): UnreadableFile {
  return new UnreadableFile("FAILED", `cannot be read: line ${number} ${message}`);
}

function nameIn(line: Line): { collection: string; key: string } {
  const { collection, key } = line.fields;
  if (typeof collection !== "string" || typeof key !== "string")
    throw lineError(line, 'needs "collection" and "key", both strings');
  return { collection, key };
}

function changeIn(line: Line): ReadChange {
  if (!("change" in line.fields)) throw lineError(line, 'stands among the changes, and has no "change"');
  const { collection, key } = nameIn(line);
  const version = versionOf(line, "change");
  const { gone } = line.fields;
  if (gone !== undefined) {
    if (gone !== "delete" && gone !== "expire") throw lineError(line, 'needs "delete" or "expire" as "gone"');
    return { change: { version, collection, key, kind: gone, text: null }, document: null };
  }
  const text = valueIn(line);
  return {
    change: { version, collection, key, kind: "set", text },
    document: { text, version, expiresAt: endIn(line) },
  };
}

function versionOf(line: Line, field: string): number {
  const version = line.fields[field];
  if (Number.isSafeInteger(version) && (version as number) >= 0) return version as number;
  throw lineError(line, `needs a whole number as "${field}"`);
}

function endIn(line: Line): number | null {
  const expiresAt = line.fields["expiresAt"] ?? null;
  if (expiresAt === null || Number.isFinite(expiresAt)) return expiresAt as number | null;
  throw lineError(line, 'needs a number as "expiresAt", in milliseconds since 1970');
}

function valueIn(line: Line): string {
  if (line.value === null) throw lineError(line, 'needs a "value"');
  return line.value;
}
