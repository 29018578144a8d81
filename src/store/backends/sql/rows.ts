/** Rows of the database as documents and changes. Large numbers arrive as text. Pure. */
import type { StoredChange, StoredDocument, StoredEntry } from "../../../module/store/port";
import { readChanges } from "../change-rows";
import type { Row } from "./dialect";

/** Of a column of bytes, or of text. */
export function textOf(cell: unknown): string {
  return typeof cell === "string" ? cell : Buffer.from(cell as Uint8Array).toString();
}

export function documentOf({ text, version, expires }: Row): StoredDocument {
  return { text: textOf(text), version: Number(version), expiresAt: expires === null ? null : Number(expires) };
}

export function entryOf(row: Row): StoredEntry {
  return { key: textOf(row["id"]), ...documentOf(row) };
}

/** A part of the log of changes. */
interface LogPart {
  /** The store's version when it was read. */
  readonly at: number;
  /** The first version in the log. null: it is empty */
  readonly oldest: number | null;
  readonly changes: readonly StoredChange[];
}

export function logOf(rows: readonly Row[]): LogPart {
  const { at, oldest } = rows[0] as Row;
  return {
    at: Number(at),
    oldest: oldest === null ? null : Number(oldest),
    changes: rows.flatMap(({ changes }) => (changes === null ? [] : readChanges(textOf(changes)))),
  };
}
