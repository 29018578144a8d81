/** The database that a URL names. */
import { parseStoreUrl } from "../../config/store-url";
import { StoreError } from "../../module/store/error";
import type { Backend, BackendOptions } from "../backend";
import { JsonBackend } from "./json/backend";
import { SqlBackend } from "./sql/backend";
import { POSTGRES } from "./sql/postgres";
import { SqliteBackend } from "./sqlite/sqlite";

/** @param url checked by the settings, with an absolute path. @throws StoreError */
export function openBackend(url: string, options: BackendOptions): Backend {
  const database = parseStoreUrl(url);
  switch (database?.kind) {
    case "sqlite":
      return new SqliteBackend(database.path, options);
    case "json":
      return new JsonBackend(database.path, options);
    case "postgres":
      return new SqlBackend(database.url, POSTGRES, options);
    case undefined:
      throw new StoreError("UNAVAILABLE", "the URL of the store is none that hrmr knows");
  }
}
