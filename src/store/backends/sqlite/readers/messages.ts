/** Reads on their way to a reader thread, and their answers. */

/** Server to thread. */
export type ToReader =
  | { readonly type: "open"; readonly path: string }
  /** `isPage`: the rows are entries of a page. */
  | {
      readonly type: "read";
      readonly sql: string;
      readonly values: readonly unknown[];
      readonly isPage: boolean;
    }
  | { readonly type: "close" };

/** Thread to server, in the order of what it was sent; `open` has no answer. */
export type FromReader =
  | { readonly type: "rows"; readonly rows: readonly Record<string, unknown>[] }
  /** The key, text, version and end of each entry, one behind the other: many times faster to clone than objects. */
  | { readonly type: "page"; readonly at: number; readonly cells: readonly (string | number | null)[] }
  /** As SQLite and the system tell it; `code` null: it has none. */
  | { readonly type: "failed"; readonly code: string | null; readonly message: string }
  | { readonly type: "closed" };
