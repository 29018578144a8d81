/** Statements that all databases of Bun.SQL understand, with `?` for values. */

/** A page also ends behind so many bytes of values. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

export const BEGIN_ROW = "SELECT version, clock FROM hrmr_store WHERE id = 1 FOR UPDATE";
export const HEAD = "SELECT format, version, clock FROM hrmr_store WHERE id = 1";
export const INDEXES = "SELECT collection, field FROM hrmr_indexes";
export const PUT_CHANGES = "INSERT INTO hrmr_changes (last_version, first_version, batch, changes) VALUES (?, ?, ?, ?)";
export const PUT_HEAD = "UPDATE hrmr_store SET version = ?, clock = ? WHERE id = 1";
export const TRIM = "DELETE FROM hrmr_changes WHERE last_version <= ?";
export const NEWEST = "SELECT changes FROM hrmr_changes ORDER BY last_version DESC LIMIT 1";
export const COLLECTIONS = "SELECT DISTINCT collection FROM hrmr_documents ORDER BY collection";
export const COMPLETE_INDEXES = "SELECT collection, field FROM hrmr_indexes WHERE complete = 1";
export const COUNT_ENTRIES = "SELECT count(*) AS entries FROM hrmr_entries WHERE collection = ? AND field = ?";
export const BATCH = "SELECT batch FROM hrmr_changes WHERE last_version = ?";

/** Rows `at`, `oldest`, `changes`: at least one, whose `changes` may be NULL. Value: the version behind which to begin. */
export const LOG = `SELECT s.version AS at, (SELECT first_version FROM hrmr_changes ORDER BY last_version LIMIT 1) AS oldest,
  c.changes AS changes FROM hrmr_store s LEFT JOIN (${limited(
    "SELECT last_version, changes FROM hrmr_changes WHERE last_version > ? ORDER BY last_version LIMIT 100",
    { columns: "last_version, changes", size: "changes", order: "last_version" },
  )}) c ON 1 = 1 ORDER BY c.last_version`;

interface Limited {
  readonly columns: string;
  /** The column whose bytes count. */
  readonly size: string;
  readonly order: string;
}

/** The first rows of a query, until they have so many bytes: always one at least. */
function limited(query: string, { columns, size, order }: Limited): string {
  const bytes = `OCTET_LENGTH(${size})`;
  return `SELECT ${columns} FROM (SELECT ${columns}, SUM(${bytes}) OVER (ORDER BY ${order} ROWS UNBOUNDED PRECEDING) - ${bytes} AS before_it FROM (${query}) q) p WHERE before_it < ${MAX_PAGE_BYTES}`;
}

/** A page of documents, and the version of the same moment: rows `at`, `id`, ... of which `id` is NULL if there are none. */
export function page(query: string, { columns, order }: { columns: string; order: string }): string {
  const rows = limited(query, { columns, size: "text", order });
  return `SELECT s.version AS at, d.* FROM hrmr_store s LEFT JOIN (${rows}) d ON 1 = 1 ORDER BY ${order
    .split(", ")
    .map((column) => `d.${column}`)
    .join(", ")}`;
}

/** Documents of a collection behind a key, or from it on. Values: collection, key, how many rows at most. */
export function documentsBehind(isBehind: boolean): string {
  const rows = `SELECT id, text, version, expires FROM hrmr_documents WHERE collection = ? AND id ${isBehind ? ">" : ">="} ? ORDER BY id LIMIT ?`;
  return `${limited(rows, { columns: "id, text, version, expires", size: "text", order: "id" })} ORDER BY id`;
}
