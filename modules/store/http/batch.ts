/** POST /store: writes to several documents, all of them or none, if its checks hold. */
import { type Asker, type Guarded, openFor } from "../access";
import { batchOf, namesIn } from "../batch";
import { jsonResponse } from "./answer";
import { parseBody, readText } from "./body";
import { queryOf } from "./query";

/** @returns `{ "results": [{ version, value? }] }`, one for each write */
export async function postBatch(request: Request, context: Guarded & Asker): Promise<Response> {
  queryOf(request, []);
  const { writes, checks } = batchOf(parseBody(await readText(request)));
  for (const name of namesIn(writes)) openFor(context, context, { name, action: "write", request });
  for (const name of namesIn(checks)) openFor(context, context, { name, action: "read", request });
  return jsonResponse(JSON.stringify({ results: await context.store.batch(writes, { checks }) }));
}
