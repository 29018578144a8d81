/** The database that a URL names. */
import { parseStoreUrl } from "../../config/store-url";
import { StoreError } from "../../module/store/error";
import type { Backend, BackendOptions } from "../backend";
import { JsonBackend } from "./json/backend";
import { SqlBackend } from "./sql/backend";
import { MYSQL } from "./sql/mysql";
import { POSTGRES } from "./sql/postgres";
import { SqliteBackend } from "./sqlite/sqlite";
import { hasFlock } from "../../system/files/flock";
import { SharedBackend } from "../shared/shared-backend";
import type { SyncBackend } from "../turn-writer";

/**
 * @param url checked by the settings, with an absolute path
 * @param folder where the processes of a server meet that use a file. Default: this process is alone
 * @throws StoreError
 */
export function openBackend(url: string, options: BackendOptions, folder: string | null = null): Backend {
  const database = parseStoreUrl(url);
  switch (database?.kind) {
    case "sqlite":
    case "json":
      return openShared(database, options, folder);
    case "postgres":
      return new SqlBackend(database.url, POSTGRES, options);
    case "mysql":
      return new SqlBackend(database.url, MYSQL, options);
    case undefined:
      throw new StoreError("UNAVAILABLE", "the URL of the store is none that hrmr knows");
  }
}

function openShared(
  { kind, path }: { readonly kind: "sqlite" | "json"; readonly path: string },
  options: BackendOptions,
  folder: string | null,
): Backend {
  const make = (own: BackendOptions): SyncBackend =>
    kind === "json" ? new JsonBackend(path, own) : new SqliteBackend(path, own);
  if (folder === null || !hasFlock) return make(options);
  return new SharedBackend({ url: `${kind}://${path}`, isOpenToAll: kind === "sqlite", make }, options, folder);
}
