/** The reasons for answers other than success, alike on HTTP, WebSocket and JSON-RPC. */
import { StoreError } from "hrmr";

/** `code` is a word for programs. */
export class Refusal extends Error {
  readonly code: string;
  /** For HTTP. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** Status by code of StoreError. All others are faults: 500. */
const STATUS: Readonly<Record<string, number>> = {
  CONFLICT: 409,
  TOO_LARGE: 413,
  INVALID_KEY: 400,
  INVALID_NAME: 400,
  INVALID_VALUE: 400,
  NOT_A_NUMBER: 409,
  INDEX_MISSING: 400,
  UNSUPPORTED: 400,
  GONE: 410,
  TIMEOUT: 503,
  CANCELLED: 503,
  BUSY: 429,
  FULL: 507,
  READ_ONLY: 503,
  UNAVAILABLE: 503,
};
/** Their texts may tell where the database is. The server's log has them. */
const HIDDEN: Readonly<Record<string, string>> = {
  UNAVAILABLE: "the store cannot be reached now",
  READ_ONLY: "the store cannot be written to now",
  FULL: "the store has no space left",
};

/** @throws every error that is neither a Refusal nor a StoreError: a fault of this module */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof StoreError)) throw error;
  const status = STATUS[error.code];
  if (status === undefined) return new Refusal(500, error.code, "the store has failed; the server's log says why");
  return new Refusal(status, error.code, HIDDEN[error.code] ?? error.message);
}

/** Whether a watch has missed changes. */
export function isGone(error: unknown): boolean {
  return error instanceof StoreError && error.code === "GONE";
}

/** `{"error":{"code":"FORBIDDEN","message":"..."}}`. */
export function errorJson({ code, message }: Pick<Refusal, "code" | "message">): string {
  return JSON.stringify({ error: { code, message } });
}
