/** The query of a request: names, times and numbers, checked. Pure. */
import { Refusal } from "../refusal";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export type Query = ReadonlyMap<string, string>;

/** @param known the possible names. @throws Refusal for another one: a mistake must not pass as "all documents" */
export function queryOf({ url }: Pick<Request, "url">, known: readonly string[]): Query {
  const query = readQuery(url);
  for (const name of query.keys())
    if (!known.includes(name))
      throw invalid(`?${name.slice(0, 60)} is not possible here: use one of ${known.join(", ")}`);
  return query;
}

/** @throws Refusal for a name that is there twice, and for bytes that are no UTF-8: they would become another key */
export function readQuery(url: string): Query {
  const query = new Map<string, string>();
  const mark = url.indexOf("?");
  if (mark < 0) return query;
  const [search = ""] = url.slice(mark + 1).split("#");
  for (const part of search.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decoded(equals < 0 ? part : part.slice(0, equals));
    if (query.has(name)) throw invalid(`?${name.slice(0, 60)}= is there twice`);
    query.set(name, equals < 0 ? "" : decoded(part.slice(equals + 1)));
  }
  return query;
}

/** @throws Refusal */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    throw invalid("the query is not percent-encoded UTF-8");
  }
}

/** `?ttl=90`, in seconds; `?ttl=500ms`, `30s`, `5m`, `12h`, `7d`; `?ttl=keep`; or the header TTL. */
export function ttlOf(query: Query, { headers }: Pick<Request, "headers">): { ttlMs?: number | "keep" } {
  const text = query.get("ttl") ?? headers.get("ttl");
  if (text === null) return {};
  if (text === "keep") return { ttlMs: "keep" };
  const [, digits, unit = "s"] = /^(\d+(?:\.\d+)?)(ms|[smhd])?$/.exec(text) ?? [];
  const ttlMs = Number(digits) * (UNITS[unit] as number);
  if (!(ttlMs > 0)) throw invalid("ttl is a time above 0: 90 (seconds), 500ms, 5m, 12h, 7d, or keep");
  return { ttlMs };
}

export function flagOf(query: Query, name: string): boolean {
  const text = query.get(name);
  if (text === undefined || text === "false" || text === "0") return false;
  if (["", "true", "1"].includes(text)) return true;
  throw invalid(`?${name}= is true or false`);
}

export function limitOf(query: Query): number {
  const text = query.get("limit");
  if (text === undefined) return 100;
  if (/^[1-9]\d{0,3}$/.test(text) && Number(text) <= 1000) return Number(text);
  throw invalid("?limit= is a number from 1 to 1000");
}

export function invalid(message: string): Refusal {
  return new Refusal(400, "INVALID_VALUE", message);
}
