/**
 * Requests to a running server's control API: by its socket, or over TCP.
 */
import { accessSync, constants, statSync } from "node:fs";
import { UserError } from "../config/user-error";
import { SERVER_NAME } from "./reply";

/** A server elsewhere (`control.listen`). */
interface RemoteServer {
  /** http://HOST:PORT or https://HOST:PORT */
  readonly url: string;
  readonly token: string;
  /** PEM: the authorities that its certificate must come from. Default: those of this system. */
  readonly ca?: string;
  /** PEM: the client's certificate and its key, for a server that asks for one. Default: none. */
  readonly cert?: string;
  readonly key?: string;
}

/** The path of a control socket, or a server elsewhere. */
export type ControlTarget = string | RemoteServer;

interface ControlReply<Body> {
  readonly status: number;
  readonly body: Body;
}

interface RequestOptions {
  /** How long the server may take. In milliseconds. Default 15000 for GET; otherwise 0, which waits for ever. */
  timeoutMs?: number;
}

const LOOK_TIMEOUT_MS = 15_000;
/** sizeof(sockaddr_un.sun_path) of Linux without its NUL. */
const MAX_PATH_BYTES = 107;

/**
 * Sends one request and reads the reply: as JSON, or as text if it is none.
 *
 * @param route  with its version: "/v1/status"
 * @param body   JSON, or files
 * @returns the reply; the report of a failed operation (422) and a server that is not ready (503) are replies too
 * @throws UserError NO_SERVER, SERVER_DEAD, CONTROL_DENIED, NOT_HRMR, CONTROL_LOST, CONTROL_TIMEOUT, TLS_UNTRUSTED;
 *   CONTROL_REFUSED with the server's words
 */
export async function controlRequest<Body>(
  target: ControlTarget,
  method: "GET" | "POST" | "DELETE",
  route: string,
  body?: object,
  { timeoutMs = method === "GET" ? LOOK_TIMEOUT_MS : 0 }: RequestOptions = {},
): Promise<ControlReply<Body>> {
  const { url, init } = reach(target);
  const response = await fetch(`${url}${route}`, {
    ...init,
    method,
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
    ...(timeoutMs > 0 ? { signal: AbortSignal.timeout(timeoutMs) } : {}),
    // A redirect may lead to another server. The token is for this one alone.
    redirect: "manual",
    // Bun's own timeout would end a request after 5 minutes; a reload has no limit.
    timeout: false,
  } as RequestInit).catch((cause: unknown) => {
    throw unanswered(target, cause as NodeJS.ErrnoException, timeoutMs);
  });
  if (response.headers.get("Server") !== SERVER_NAME) throw notHrmr(target);
  return { status: response.status, body: (await readReply(response, target)) as Body };
}

/** The arguments for fetch. @throws UserError as `mustBeSocket` */
function reach(target: ControlTarget): { url: string; init: object } {
  if (typeof target === "string") {
    mustBeSocket(target);
    return { url: "http://hrmr", init: { unix: target } };
  }
  const { url, token, ca, cert, key } = target;
  // Bun sends plain HTTP, token included, through $HTTP_PROXY. No option of a request prevents it.
  if (url.startsWith("http:")) process.env["NO_PROXY"] = "*";
  const tls = { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert, key }) };
  return {
    url,
    init: { headers: { Authorization: `Bearer ${token}` }, ...(Object.keys(tls).length === 0 ? {} : { tls }) },
  };
}

/** For messages. */
function nameOf(target: ControlTarget): string {
  return typeof target === "string" ? target : target.url;
}

async function readReply(response: Response, target: ControlTarget): Promise<unknown> {
  const text = await response.text().catch((cause: unknown) => {
    throw unanswered(target, cause as NodeJS.ErrnoException, 0);
  });
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) return text;
  const body: unknown = JSON.parse(text);
  if (isRefusal(body)) throw new UserError(body.error, { code: "CONTROL_REFUSED", hint: body.hint });
  return body;
}

/** A report has an `ok`. Any other reply with an `error` is a refusal. */
function isRefusal(body: unknown): body is { error: string; hint: string } {
  return typeof body === "object" && body !== null && "error" in body && "hint" in body && !("ok" in body);
}

/** fetch fails alike for a missing socket, another user's and a plain file. */
function mustBeSocket(path: string): void {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new UserError(`${path} is too long for a socket's path.`, {
      code: "NO_SERVER",
      hint: "Name it by a shorter path.",
    });
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

/** @param paths the paths where the socket was not found */
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

function notHrmr(target: ControlTarget): UserError {
  if (typeof target !== "string") {
    return new UserError(`The program at ${target.url} is not the control port of hrmr.`, {
      code: "NOT_HRMR",
      hint: "Name the address in control.listen of the server's configuration; its other listeners take no orders.",
    });
  }
  return new UserError(`The socket ${target} is not the control socket of hrmr.`, {
    code: "NOT_HRMR",
    hint: "Check the path; `hrmr status` in the server's folder finds it by itself.",
  });
}

function unanswered(target: ControlTarget, cause: NodeJS.ErrnoException, timeoutMs: number): UserError {
  const { code, name } = cause;
  if (name === "TimeoutError") {
    return new UserError(`The server at ${nameOf(target)} did not answer in ${timeoutMs / 1000} s.`, {
      code: "CONTROL_TIMEOUT",
      hint: "It hangs, or is very busy: its log may tell why. `hrmr stop --force` ends it in any case.",
      cause,
    });
  }
  if (code === "ECONNRESET" || code === "ConnectionClosed") return lost(target, cause);
  if (typeof target !== "string") return unreached(target, cause);
  if (code === "ENOENT") return noServer([target], cause);
  if (code === "EACCES" || code === "EPERM") return denied(target, cause);
  if (code === "ECONNREFUSED") {
    return new UserError(
      `No hrmr server runs here: nobody answers at ${target}. A server that was killed has left it behind.`,
      { code: "SERVER_DEAD", hint: "`hrmr start` starts one, and replaces that file.", cause },
    );
  }
  return notHrmr(target);
}

function lost(target: ControlTarget, cause: NodeJS.ErrnoException): UserError {
  return new UserError(`The server at ${nameOf(target)} ended the connection before it had answered.`, {
    code: "CONTROL_LOST",
    hint: "It stopped, or is not hrmr: `hrmr status` shows whether it runs.",
    cause,
  });
}

/** Reasons to refuse a certificate. */
const UNTRUSTED = /CERT|VERIFY|SELF_SIGNED|ISSUER/;

function unreached({ url }: RemoteServer, cause: NodeJS.ErrnoException): UserError {
  const reason = cause.code ?? cause.message;
  if (UNTRUSTED.test(reason)) {
    return new UserError(`${url} is not trusted: ${cause.message}.`, {
      code: "TLS_UNTRUSTED",
      hint: "Pass --tls-ca FILE with the certificate of its authority, or its own.",
      cause,
    });
  }
  const hint =
    reason === "EPROTO"
      ? "It speaks no TLS, it seems: write tcp:// instead of tls://."
      : "Is the server running, and is control.listen set?";
  return new UserError(`Cannot reach the server at ${url} (${reason}).`, { code: "CANNOT_CONNECT", hint, cause });
}
