/** The two ways to talk to a program: a line for a line, or JSON-RPC 2.0 with a message a line. Pure. */
import { ProgramError } from "./error";

/** One message for a program. */
export interface Question {
  /** For lines: the message. */
  readonly line: Uint8Array;
  /** For JSON-RPC. */
  readonly method: string;
  readonly params: unknown;
}

/** What a line of a program means. */
export type Heard =
  | { readonly kind: "answer"; readonly id: number | null; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly error: ProgramError }
  /** `id` is its own: null for a notification. */
  | { readonly kind: "request"; readonly id: string | number | null; readonly method: string; readonly params: unknown }
  | { readonly kind: "rubbish" };

export interface Codec {
  /** How many questions may be open at the same time. */
  readonly concurrency: number;
  /** @throws ProgramError for what it cannot carry */
  encode(id: number, question: Question): string | Uint8Array;
  /** Tells the program that nobody waits any more. null: it cannot be told */
  cancel(id: number): string | null;
  decode(line: Buffer): Heard;
}

const RUBBISH: Heard = { kind: "rubbish" };

/** One question at a time: the next line is its answer. */
export const LINES: Codec = {
  concurrency: 1,
  encode(_id, { line }) {
    if (line.includes(10)) throw new ProgramError("INVALID_INPUT", "a message for a program must be one line");
    return line;
  },
  cancel: () => null,
  decode: (line) => ({ kind: "answer", id: null, value: line }),
};

export const JSON_RPC: Codec = {
  concurrency: 1000,
  encode(id, { method, params }) {
    const given = params === undefined ? {} : { params: isStructured(params) ? params : [params] };
    try {
      return JSON.stringify({ jsonrpc: "2.0", id, method, ...given });
    } catch (error) {
      throw new ProgramError("INVALID_INPUT", `the input cannot be written as JSON: ${String(error)}`);
    }
  },
  cancel: (id) => JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } }),
  decode(line) {
    let message: unknown;
    try {
      message = JSON.parse(line.toString());
    } catch {
      return RUBBISH;
    }
    return isStructured(message) && !Array.isArray(message) ? readMessage(message as Record<string, unknown>) : RUBBISH;
  },
};

function readMessage({ id, method, params, result, error }: Record<string, unknown>): Heard {
  if (typeof method === "string") {
    const own = typeof id === "string" || typeof id === "number" ? id : null;
    return { kind: "request", id: own, method, params };
  }
  if (typeof id !== "number") return RUBBISH;
  if (isStructured(error)) return { kind: "failure", id, error: errorOf(error as Record<string, unknown>) };
  return result === undefined ? RUBBISH : { kind: "answer", id, value: result };
}

const CODES: Readonly<Record<number, string>> = { [-32602]: "INVALID_INPUT", [-32601]: "SERVICE_MISSING" };

function errorOf({ code, message, data }: Record<string, unknown>): ProgramError {
  const own = typeof code === "string" ? code : (CODES[Number(code)] ?? "FAILED");
  return new ProgramError(own, typeof message === "string" ? message : "the program gave no reason", data);
}

function isStructured(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
