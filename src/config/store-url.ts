/** The URL of the store's database. */
import { join, resolve } from "node:path";

/** The forms of a store's URL: the end of the message about a wrong one. */
export const STORE_FORMS = "sqlite://PATH, json://PATH";

const FILE_URL = /^(?<scheme>sqlite|json):\/\/(?<path>[^?#]+)$/;

/** A database in a file. `path` may be relative. */
interface StoreFile {
  readonly kind: "sqlite" | "json";
  readonly path: string;
}

/** @returns the URL where the settings name none */
export function defaultStoreUrl(dataDir: string): string {
  return `sqlite://${join(dataDir, "hub.sqlite")}`;
}

/** @returns null: it is no URL of a store */
export function parseStoreUrl(url: string): StoreFile | null {
  const groups = FILE_URL.exec(url)?.groups;
  return groups === undefined ? null : { kind: groups["scheme"] as StoreFile["kind"], path: groups["path"] as string };
}

/** @param folder where relative paths begin. @returns the URL with an absolute path; others stay */
export function absoluteStoreUrl(url: string, folder: string): string {
  const file = parseStoreUrl(url);
  return file === null ? url : `${file.kind}://${resolve(folder, file.path)}`;
}
