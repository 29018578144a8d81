/** The form of service calls and their results between the server and a place. */

export interface CarriedCall {
  readonly caller: string;
  readonly identity: string | null;
  /** The services that wait, the callee as the last. */
  readonly chain: readonly string[];
  /** What the call has left. In milliseconds; 0: for ever. */
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
