/** One document: GET, HEAD, PUT, PATCH, POST and DELETE of /store/COLLECTION/KEY. */
import type { Collection, SetOptions } from "hrmr";
import { Refusal } from "../refusal";
import { fieldsOf, jsonResponse, NOT_KEPT } from "./answer";
import { readText } from "./body";
import { allowsWrite, conditionsOf, names } from "./conditions";
import { invalid, queryOf, ttlOf } from "./query";

/** A document of a request, which its client may use. */
export interface Target {
  /** Its values are texts: they pass through. */
  readonly collection: Collection<string>;
  readonly key: string;
  readonly request: Request;
}

/** How often a write with a condition is tried while others write the same document. */
const MAX_ATTEMPTS = 20;

export async function getDocument({ collection, key, request }: Target): Promise<Response> {
  queryOf(request, ["key"]);
  const found = await collection.get(key);
  const { match, noneMatch } = conditionsOf(request.headers);
  const version = found?.version ?? 0;
  if (match !== null && !names(match, version, false)) throw failed();
  if (found === null) throw missing(collection, key);
  const fields = fieldsOf(found);
  if (noneMatch !== null && names(noneMatch, version, true))
    return new Response(null, { status: 304, headers: fields });
  return jsonResponse(found.value, fields);
}

/** Writes the body. 201: there was no document. */
export async function putDocument(target: Target): Promise<Response> {
  const { collection, key, request } = target;
  const options = ttlOf(queryOf(request, ["key", "ttl"]), request);
  const text = await readText(request);
  const { before, result: version } = await write(target, (condition) =>
    collection.set(key, text, { ...options, ...condition }),
  );
  const fields = { ETag: `"${version}"`, ...NOT_KEPT };
  return jsonResponse(`{"version":${version}}`, fields, before === 0 ? 201 : 200);
}

/** Merges the body into the document (RFC 7396), and answers the document after it. */
export async function patchDocument(target: Target): Promise<Response> {
  const { collection, key, request } = target;
  const options = ttlOf(queryOf(request, ["key", "ttl"]), request);
  const patch = await readText(request);
  const { before, result } = await write(target, (condition) =>
    collection.patch(key, patch, { ...options, ...condition }),
  );
  return jsonResponse(result.value, fieldsOf(result), before === 0 ? 201 : 200);
}

/** Adds to a number, and answers the number after it. */
export async function incrementDocument(target: Target): Promise<Response> {
  const { collection, key, request } = target;
  const query = queryOf(request, ["key", "ttl", "increment", "field"]);
  const by = query.get("increment");
  if (by === undefined) throw invalid("POST adds to a number: ?increment=1, or ?increment=1&field=wins");
  if (!/^(?:-?\d+(?:\.\d+)?(?:e-?\d+)?)?$/i.test(by)) throw invalid("?increment= is a number");
  const field = query.get("field");
  const options = { ...ttlOf(query, request), ...(field === undefined ? null : { field }) };
  const { before, result } = await write(target, (condition) =>
    collection.increment(key, by === "" ? 1 : Number(by), { ...options, ...condition }),
  );
  return jsonResponse(String(result), NOT_KEPT, before === 0 ? 201 : 200);
}

export async function deleteDocument(target: Target): Promise<Response> {
  const { collection, key, request } = target;
  queryOf(request, ["key"]);
  const { result: wasThere } = await write(target, (condition) => collection.delete(key, condition));
  if (!wasThere) throw missing(collection, key);
  return new Response(null, { status: 204 });
}

interface Written<T> {
  /** The version before it; 0: there was no document. */
  readonly before: number;
  readonly result: T;
}

/** Writes if the request's conditions hold, and nobody has written since they were looked at. */
async function write<T>(
  { collection, key, request }: Target,
  writeIf: (condition: Pick<SetOptions, "ifVersion">) => Promise<T>,
): Promise<Written<T>> {
  const conditions = conditionsOf(request.headers);
  const hasConditions = conditions.match !== null || conditions.noneMatch !== null;
  for (let attempt = 1; ; attempt++) {
    const before = (await collection.get(key))?.version ?? 0;
    if (!allowsWrite(conditions, before)) throw failed();
    try {
      return { before, result: await writeIf(hasConditions ? { ifVersion: before } : {}) };
    } catch (error) {
      if ((error as { code?: unknown }).code !== "CONFLICT" || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

function failed(): Refusal {
  return new Refusal(412, "CONFLICT", "the document has another version: read it again");
}

function missing({ name }: Collection<string>, key: string): Refusal {
  return new Refusal(404, "NOT_FOUND", `${name} has no document ${JSON.stringify(key)}`);
}
