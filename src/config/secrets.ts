/**
 * What must not be shown of a configuration.
 */
import { isGroup } from "./key-list";

const MASK = "***";
const SECRET_WORDS = new Set(
  "token tokens secret secrets password passwords passwd passphrase pwd key keys apikey credential credentials".split(" "),
);
/** `keyFile` is a path: that may be seen. */
const PATH_WORDS = new Set(["file", "files", "path", "dir", "folder"]);
/** The password of a URL: `postgres://user:password@host`. */
const URL_PASSWORD = /(?<=^[a-z][a-z0-9+.-]*:\/\/[^\s/@:]*:)[^\s/]+(?=@)/i;

/** @returns `value` with *** in place of what the names in it, or its own, tell to be a secret */
export function maskSecrets(name: string, value: unknown): unknown {
  if (value === null || typeof value === "boolean") return value;
  if (isSecretName(name)) return MASK;
  if (Array.isArray(value)) return value.map((item) => maskSecrets("", item));
  if (isGroup(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, maskSecrets(key, inner)]));
  return typeof value === "string" ? value.replace(URL_PASSWORD, MASK) : value;
}

/** Whether `apiKey`, `API_KEY` or `db.password` names a secret. */
export function isSecretName(name: string): boolean {
  const words = name
    .replaceAll(/(?<=[a-z0-9])[A-Z]/g, " $&")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  return words.some((word) => SECRET_WORDS.has(word)) && !PATH_WORDS.has(words.at(-1) ?? "");
}
