/**
 * Requests to a running server's control socket.
 */
import { accessSync, constants, statSync } from "node:fs";
import { UserError } from "../config/user-error";
import { SERVER_NAME } from "./reply";

export interface ControlReply<Body> {
  readonly status: number;
  readonly body: Body;
}

export interface RequestOptions {
  /** How long the server may take. In milliseconds. Default 15000 for GET; else 0, which waits for ever. */
  timeoutMs?: number;
}

const LOOK_TIMEOUT_MS = 15_000;
/** sizeof(sockaddr_un.sun_path) of Linux without its NUL. */
const MAX_PATH_BYTES = 107;

/**
 * Sends one request and reads the reply: JSON, or else its text.
 *
 * @param path  of the socket
 * @param route  with its version: "/v1/status"
 * @returns also a report of what failed (422) and a server that is not ready (503)
 * @throws UserError NO_SERVER, SERVER_DEAD, CONTROL_DENIED, NOT_HRMR, CONTROL_LOST, CONTROL_TIMEOUT; CONTROL_REFUSED with the server's words
 */
export async function controlRequest<Body>(
  path: string,
  method: "GET" | "POST",
  route: string,
  body?: object,
  { timeoutMs = method === "GET" ? LOOK_TIMEOUT_MS : 0 }: RequestOptions = {},
): Promise<ControlReply<Body>> {
  mustBeSocket(path);
  const response = await fetch(`http://hrmr${route}`, {
    unix: path,
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(timeoutMs > 0 ? { signal: AbortSignal.timeout(timeoutMs) } : {}),
    // Bun's own ends a request after 5 minutes; a reload may take as long as it takes.
    timeout: false,
  } as RequestInit).catch((cause: unknown) => {
    throw unanswered(path, cause as NodeJS.ErrnoException, timeoutMs);
  });
  if (response.headers.get("Server") !== SERVER_NAME) throw notHrmr(path);
  return { status: response.status, body: (await readReply(response, path)) as Body };
}

async function readReply(response: Response, path: string): Promise<unknown> {
  const text = await response.text().catch((cause: unknown) => {
    throw unanswered(path, cause as NodeJS.ErrnoException, 0);
  });
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) return text;
  const body: unknown = JSON.parse(text);
  if (isRefusal(body)) throw new UserError(body.error, { code: "CONTROL_REFUSED", hint: body.hint });
  return body;
}

/** A report has an `ok`; whatever else has an `error` is a refusal. */
function isRefusal(body: unknown): body is { error: string; hint: string } {
  return typeof body === "object" && body !== null && "error" in body && "hint" in body && !("ok" in body);
}

/** fetch tells a missing socket, a foreign one and a plain file alike. */
function mustBeSocket(path: string): void {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new UserError(`${path} is too long for a socket's path.`, { code: "NO_SERVER", hint: "Name it by a shorter path." });
  }
  try {
    if (!statSync(path).isSocket()) throw notHrmr(path);
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw code === "EACCES" || code === "EPERM" ? denied(path, cause) : noServer([path], cause);
  }
}

/** @param paths  where the socket was looked for */
export function noServer(paths: readonly string[], cause?: unknown): UserError {
  return new UserError(`No hrmr server runs here: there is no control socket at ${paths.join(" or ")}.`, {
    code: "NO_SERVER",
    hint: "`hrmr start` starts one. Name another server's socket with --control PATH, or go to its folder.",
    cause,
  });
}

function denied(path: string, cause: unknown): UserError {
  return new UserError(`This user may not use the control socket ${path}.`, {
    code: "CONTROL_DENIED",
    hint: "It is for the user that runs the server, and for root: use sudo.",
    cause,
  });
}

function notHrmr(path: string): UserError {
  return new UserError(`What is at ${path} is not the control socket of hrmr.`, {
    code: "NOT_HRMR",
    hint: "Check the path; `hrmr status` in the server's folder finds it by itself.",
  });
}

function unanswered(path: string, cause: NodeJS.ErrnoException, timeoutMs: number): UserError {
  const { code, name } = cause;
  if (name === "TimeoutError") {
    return new UserError(`The server at ${path} did not answer in ${timeoutMs / 1000} s.`, {
      code: "CONTROL_TIMEOUT",
      hint: "It hangs, or is very busy: its log may tell why. SIGKILL ends it in any case.",
      cause,
    });
  }
  if (code === "ENOENT") return noServer([path], cause);
  if (code === "EACCES" || code === "EPERM") return denied(path, cause);
  if (code === "ECONNREFUSED") {
    return new UserError(`No hrmr server runs here: nobody answers at ${path}, which a server that was killed left behind.`, {
      code: "SERVER_DEAD",
      hint: "`hrmr start` starts one; the file that is left is no obstacle.",
      cause,
    });
  }
  if (code === "ECONNRESET" || code === "ConnectionClosed") {
    return new UserError(`The server at ${path} ended the connection before it had answered.`, {
      code: "CONTROL_LOST",
      hint: "It stopped, or is not hrmr: `hrmr status` shows whether it runs.",
      cause,
    });
  }
  return notHrmr(path);
}
