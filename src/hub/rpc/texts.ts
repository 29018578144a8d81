/** Writes messages of JSON-RPC 2.0. Pure. */
import type { RpcFailure } from "./failure";
import type { RpcId } from "./request";

/** @param json the result */
export function resultText(id: RpcId, json: string): string {
  if (typeof id === "number") return `{"jsonrpc":"2.0","result":${json},"id":${id}}`;
  return `{"jsonrpc":"2.0","result":${json},"id":${idText(id)}}`;
}

export function failureText(id: RpcId, failure: RpcFailure): string {
  return `{"jsonrpc":"2.0","error":${errorJson(failure)},"id":${idText(id)}}`;
}

/** One part of a streamed result. @param json the part */
export function nextText(id: RpcId, json: string): string {
  return `{"jsonrpc":"2.0","method":"$/next","params":{"id":${idText(id)},"value":${json}}}`;
}

/** The error object alone. */
export function errorJson({ code, word, message, data }: RpcFailure): string {
  try {
    return JSON.stringify({ code, message, data });
  } catch {
    // The data is the service's own, and may hold a BigInt.
    return JSON.stringify({ code, message, data: { code: word } });
  }
}

function idText(id: RpcId): string {
  return JSON.stringify(id);
}
