/**
 * Requests that a module makes by `node:http`. Their sockets belong to an agent that all modules share, so they do not
 * end with the version as other sockets do: a stream would go on calling code of a version that is gone.
 */
import { channel } from "node:diagnostics_channel";
import type { ClientRequest, IncomingMessage } from "node:http";

// Held here: a channel that nobody holds is collected with its subscribers (Bun 1.4.4).
const created = channel("http.client.request.created");
const open = new WeakMap<Bun.ModuleGraph, Set<ClientRequest>>();
let isWatching = false;

/** Records which graph makes which request. Once for each thread; idempotent. */
export function watchRequests(): void {
  if (isWatching) return;
  isWatching = true;
  created.subscribe((message) => note((message as { request: ClientRequest }).request));
}

function note(request: ClientRequest): void {
  const graph = Bun.ModuleGraph.current;
  if (graph === undefined) return;
  const requests = open.get(graph) ?? new Set();
  open.set(graph, requests.add(request));
  request.once("close", () => requests.delete(request));
}

/** Cuts the graph's requests that are under way. Nothing of the graph hears of it. @returns how many */
export function cutRequestsOf(graph: Bun.ModuleGraph): number {
  const requests = [...(open.get(graph) ?? [])];
  open.delete(graph);
  for (const request of requests) {
    silence(request);
    const { res } = request as ClientRequest & { readonly res?: IncomingMessage | null };
    if (res) silence(res);
    request.destroy();
  }
  return requests.length;
}

/** Without a listener, an error would reach the whole process. */
function silence(emitter: ClientRequest | IncomingMessage): void {
  emitter.removeAllListeners();
  emitter.on("error", () => {});
}
