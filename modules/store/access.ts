/** The rights of clients: `store:COLLECTION:read` and `store:COLLECTION:write`. */
import type { Client, Collection, ModuleContext, Session } from "hrmr";
import { Refusal } from "./refusal";

export type Action = "read" | "write";

/** A request's context, a socket, or the client of a procedure. */
export interface Asker {
  readonly client: Client;
  readonly session: Session;
}

/** The part of a module's context that is used here. */
export type Guarded = Pick<ModuleContext, "store" | "access">;

interface Wish {
  /** Of a collection. */
  readonly name: string;
  readonly action: Action;
  readonly request?: Request;
}

/** Collections of the server itself: the record of migrations. */
export const OWN = "hrmr.";

/**
 * A collection whose values are JSON texts, for a client that may use it so.
 *
 * @throws Refusal if it may not; StoreError if the name is no collection's
 */
export function openFor({ store, access }: Guarded, asker: Asker, { name, action, request }: Wish): Collection<string> {
  // First: a name may hold a colon, and so be a scope of another collection.
  const collection = store.collection(name, { text: true });
  mustBeAllowed(access, asker, { name, action, ...(request === undefined ? null : { request }) });
  return collection;
}

/** @throws Refusal */
export function mustBeAllowed(access: Guarded["access"], asker: Asker, { name, action, request }: Wish): void {
  if (action === "write" && name.startsWith(OWN)) throw new Refusal(403, "FORBIDDEN", `${name} belongs to the server`);
  const refusal = access.refusal(asker, `store:${name}:${action}`, request);
  if (refusal !== null) throw new Refusal(refusal.status, refusal.code, refusal.message);
}
