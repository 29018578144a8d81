/** The URL of the store's database. */
import { join, resolve } from "node:path";

/** The forms of a store's URL: the end of the message about a wrong one. */
export const STORE_FORMS =
  "sqlite://PATH, json://PATH, postgres://USER:PASSWORD@HOST/DB, mysql://USER:PASSWORD@HOST/DB";

const FILE_URL = /^(?<scheme>sqlite|json):\/\/(?<path>[^?#]+)$/;
// Spaces are written as %20: the rest of a password behind one would be shown in messages.
const SERVER_URL = /^(?<scheme>postgres|postgresql|mysql|mariadb):\/\/\S+$/;

/** A database in a file. `path` may be relative. */
interface StoreFile {
  readonly kind: "sqlite" | "json";
  readonly path: string;
}

/** A database that a server of its own has. */
interface StoreServer {
  readonly kind: "postgres" | "mysql";
  readonly url: string;
}

/** @returns the URL where the settings name none */
export function defaultStoreUrl(dataDir: string): string {
  return `sqlite://${join(dataDir, "hub.sqlite")}`;
}

/** @returns null: it is no URL of a store */
export function parseStoreUrl(url: string): StoreFile | StoreServer | null {
  const groups = FILE_URL.exec(url)?.groups;
  if (groups !== undefined) return { kind: groups["scheme"] as StoreFile["kind"], path: groups["path"] as string };
  const scheme = URL.canParse(url) ? SERVER_URL.exec(url)?.groups?.["scheme"] : undefined;
  if (scheme === undefined) return null;
  return { kind: scheme.startsWith("postgres") ? "postgres" : "mysql", url };
}

/** @param folder where relative paths begin. @returns the URL with an absolute path; others stay */
export function absoluteStoreUrl(url: string, folder: string): string {
  const parsed = parseStoreUrl(url);
  return parsed !== null && "path" in parsed ? `${parsed.kind}://${resolve(folder, parsed.path)}` : url;
}
