/** The database that a URL names. */
import { parseStoreUrl } from "../../config/store-url";
import { StoreError } from "../../module/store/error";
import type { Backend, BackendOptions } from "../backend";
import { JsonBackend } from "./json/backend";
import { SqliteBackend } from "./sqlite/sqlite";

/** @param url checked by the settings, with an absolute path. @throws StoreError */
export function openBackend(url: string, options: BackendOptions): Backend {
  const file = parseStoreUrl(url);
  if (file === null) throw new StoreError("UNAVAILABLE", "the URL of the store is none that hrmr knows");
  return file.kind === "json" ? new JsonBackend(file.path, options) : new SqliteBackend(file.path, options);
}
