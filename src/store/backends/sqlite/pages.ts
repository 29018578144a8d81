/** Parts of a collection or an index as queries of SQLite. Pure. */
import { behindPrefix, compareKeys } from "../../../module/store/names";
import type { IndexRange, KeyRange, StoredEntry } from "../../../module/store/port";

/** A page also ends behind so many letters of values. */
const MAX_PAGE_LETTERS = 4 * 1024 * 1024;

/** The columns of a document `d`. */
export const DOCUMENT = "d.text AS text, d.version AS version, d.expires AS expiresAt";

/** A query for entries. */
export interface PageQuery {
  readonly sql: string;
  readonly values: readonly (number | string)[];
}

type Rule = readonly [sql: string, ...values: (number | string)[]];

// Of two bounds on one side only the narrower is written. SQLite would look for one of them, and step from there to the
// other one, past all documents of the pages before.

/** @param id of the collection. @param now documents whose time is over by then are left out */
export function listQuery(id: number, { prefix, after, limit, reverse }: KeyRange, now: number): PageQuery {
  const end = behindPrefix(prefix);
  const isAfterFirst = after !== null && !reverse && compareKeys(after, prefix) >= 0;
  const isAfterLast = after !== null && reverse && (end === null || compareKeys(after, end) <= 0);
  const rules: Rule[] = [["d.collection = ?", id]];
  if (isAfterFirst) rules.push(["d.key > ?", after]);
  else if (prefix !== "") rules.push(["d.key >= ?", prefix]);
  if (isAfterLast) rules.push(["d.key < ?", after]);
  else if (end !== null) rules.push(["d.key < ?", end]);
  const order = `ORDER BY d.key${reverse ? " DESC" : ""}`;
  return query(`SELECT d.key AS key, ${DOCUMENT} FROM documents d`, [...rules, isAlive(now)], { order, limit });
}

/** @param ids of the collection and of the index. @param now as of `listQuery` */
export function findQuery(
  ids: { readonly collection: number; readonly index: number },
  { from, to, after, limit, reverse }: IndexRange,
  now: number,
): PageQuery {
  const isAfterFirst = after !== null && !reverse && (from === null || compareKeys(after.value, from) >= 0);
  const isAfterLast = after !== null && reverse && (to === null || compareKeys(after.value, to) <= 0);
  const rules: Rule[] = [['i."index" = ?', ids.index]];
  if (isAfterFirst) rules.push(["(i.value, i.key) > (?, ?)", after.value, after.key]);
  else if (from !== null) rules.push(["i.value >= ?", from]);
  if (isAfterLast) rules.push(["(i.value, i.key) < (?, ?)", after.value, after.key]);
  else if (to !== null) rules.push(["i.value <= ?", to]);
  const join = `JOIN documents d ON d.collection = ${ids.collection} AND d.key = i.key`;
  const down = reverse ? " DESC" : "";
  const order = `ORDER BY i.value${down}, i.key${down}`;
  return query(`SELECT d.key AS key, ${DOCUMENT} FROM entries i CROSS ${join}`, [...rules, isAlive(now)], {
    order,
    limit,
  });
}

/** @returns the entries of a page, which are fewer than the query's if they are large */
export function entriesOfPage(rows: Iterable<StoredEntry>): StoredEntry[] {
  const entries: StoredEntry[] = [];
  let letters = 0;
  for (const entry of rows) {
    entries.push(entry);
    letters += entry.text.length;
    if (letters >= MAX_PAGE_LETTERS) break;
  }
  return entries;
}

function isAlive(now: number): Rule {
  return ["(d.expires IS NULL OR d.expires > ?)", now];
}

function query(
  select: string,
  rules: readonly Rule[],
  { order, limit }: { readonly order: string; readonly limit: number },
): PageQuery {
  return {
    sql: `${select} WHERE ${rules.map(([rule]) => rule).join(" AND ")} ${order} LIMIT ?`,
    values: [...rules.flatMap(([, ...bound]) => bound), limit],
  };
}
