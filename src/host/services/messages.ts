/** The form of service calls and their results between the server and a place. */
import type { ServiceCaller } from "../../module/service/calls";
import type { CallFrame } from "../../module/service/frame";

export interface CarriedCall {
  readonly caller: string;
  readonly identity: string | null;
  /** The services that wait, the callee as the last. */
  readonly chain: readonly string[];
  /** The time that the call has left. In milliseconds; 0: no limit. */
  readonly leftMs: number;
}

/** @param input an encoded value. @returns one character for each byte */
export function encodeServiceCall({ caller, identity, chain, leftMs }: CarriedCall, input: string): string {
  return `${asciiJson([caller, identity, chain, leftMs])}\n${input}`;
}

export function decodeServiceCall(text: string): { call: CarriedCall; input: string } {
  const end = text.indexOf("\n");
  const [caller, identity, chain, leftMs] = JSON.parse(text.slice(0, end)) as [string, string | null, string[], number];
  return { call: { caller, identity, chain, leftMs }, input: text.slice(end + 1) };
}

/** The first letter of a result. */
const VALUE = "V";
const FAILURE = "E";

/** @param value an encoded one */
export function encodeResult(value: string): string {
  return VALUE + value;
}

/** @param failure an encoded ServiceFailure */
export function encodeFailure(failure: string): string {
  return FAILURE + failure;
}

/** @returns an encoded value, or an encoded ServiceFailure */
export function decodeResult(text: string): { readonly isFailure: boolean; readonly encoded: string } {
  return { isFailure: text.startsWith(FAILURE), encoded: text.slice(1) };
}

function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * Calls that modules in a place make, place to server: ASK_FIELDS elements for each, in one flat array, since that is
 * cloned many times faster than objects. The number of the call there, its target (`askTarget`), the input as an encoded
 * value, how long its caller waits in milliseconds (0: for ever), what it inherits (`encodeInherited`), and the client as
 * `clientText`; "": none.
 */
export type AskBatch = (number | string)[];
export const ASK_FIELDS = 6;

/** Results, server to place: TOLD_FIELDS elements for each: the number of the call, one of TOLD, and a text. */
export type ToldBatch = (number | string)[];
export const TOLD_FIELDS = 3;

export const TOLD = {
  /** An encoded value. */
  value: 0,
  /** An encoded ServiceFailure. */
  failure: 1,
  /** Parts follow. */
  stream: 2,
  /** An encoded value. */
  part: 3,
  end: 4,
} as const;
export type ToldKind = (typeof TOLD)[keyof typeof TOLD];

/** Who calls which service, as one text, made once for each function of `context.services`. */
export function askTarget(caller: ServiceCaller, module: string, service: string): string {
  return JSON.stringify([caller.module, caller.generation, module, service]);
}

export function readAskTarget(text: string): { caller: ServiceCaller; module: string; service: string } {
  const [name, generation, module, service] = JSON.parse(text) as [string, number, string, string];
  return { caller: { module: name, generation }, module, service };
}

/** @returns "": nothing */
export function encodeInherited(frame: Pick<CallFrame, "chain" | "identity">): string {
  const { chain, identity } = frame;
  return chain.length === 0 && identity === null ? "" : JSON.stringify([chain, identity]);
}

export function decodeInherited(text: string): Pick<CallFrame, "chain" | "identity"> {
  if (text === "") return { chain: [], identity: null };
  const [chain, identity] = JSON.parse(text) as [string[], string | null];
  return { chain, identity };
}
