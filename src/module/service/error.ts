/** The failure of a service call, as its caller gets it: never with the callee's stack. */

export class ServiceError extends Error {
  readonly code: string;
  /** More about it, for programs. A structured clone. */
  readonly data: unknown;

  /** @param code one of the server's (contract.d.ts names them), or the service's own. @param data default: none */
  constructor(code: string, message: string, data?: unknown) {
    super(message);
    this.name = "ServiceError";
    this.code = String(code);
    this.data = data;
  }
}

/** A ServiceError as plain data. */
export interface ServiceFailure {
  readonly code: string;
  readonly message: string;
  readonly data?: unknown;
}

/**
 * @returns null: it is another error. Its class may be that of another thread's copy of the module "hrmr". Never throws,
 *   whatever was thrown
 */
export function failureIn(thrown: unknown): ServiceFailure | null {
  try {
    return readFailure(thrown);
  } catch {
    // A getter or a proxy of the module.
    return null;
  }
}

function readFailure(thrown: unknown): ServiceFailure | null {
  if (!(thrown instanceof Error) || thrown.name !== "ServiceError") return null;
  const { code, data } = thrown as ServiceError;
  if (typeof code !== "string") return null;
  return { code, message: String(thrown.message), ...(data === undefined ? null : { data }) };
}

export function errorOf({ code, message, data }: ServiceFailure): ServiceError {
  return new ServiceError(code, message, data);
}

/** The failure of a call whose result cannot be copied. */
export function uncopiedResult(error: unknown): ServiceError {
  return new ServiceError("INVALID_OUTPUT", `the result cannot be copied: ${textOf(error)}`);
}

/** The failure of a call whose input cannot be copied. @param name "kv.get" */
export function uncopiedInput(name: string, error: unknown): ServiceError {
  return new ServiceError("INVALID_INPUT", `${name}: the input cannot be copied: ${textOf(error)}`);
}

/** @returns the message of an error, or any other value as text. Never throws, whatever was thrown */
export function textOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.message) : String(thrown);
  } catch {
    // An object without a prototype, for one.
    return "it threw a value that cannot be shown";
  }
}

/** Any error as plain data. */
export function plainFailure(error: unknown): ServiceFailure {
  return failureIn(error) ?? { code: "FAILED", message: textOf(error) };
}
