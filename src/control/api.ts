/**
 * The control socket's HTTP API: which operation a request asks for, and how its outcome is told. docs/control.md describes it.
 */
import { suggest } from "../config/nearest";
import { UserError } from "../config/user-error";
import type { Operations } from "./operations";

/** Replies carry it as `Server`: whoever looks for hrmr behind a socket goes by it. */
export const SERVER_NAME = "hrmr";

/** Bytes of a request's body. */
export const MAX_BODY_BYTES = 65_536;

/** What only looks at the server has this long: a process that hangs must not make its operator hang too. In milliseconds. */
const LOOK_DEADLINE_MS = 10_000;
/** In milliseconds. */
const BODY_DEADLINE_MS = 10_000;

/** What went wrong with a request, as the reply tells it. */
class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

type Body = Readonly<Record<string, unknown>>;

interface Route {
  readonly method: "GET" | "POST";
  /** Keys that the body may have. Default: none. */
  readonly keys?: readonly string[];
  answer(operations: Operations, body: Body): Promise<Response> | Response;
}

const ROUTES: Readonly<Record<string, Route>> = {
  "/v1/status": look(async (operations) => reply(200, await operations.status())),
  "/v1/modules": look(async (operations) => reply(200, (await operations.status()).modules)),
  "/v1/ready": look(async (operations) => {
    const readiness = await operations.readiness();
    return reply(readiness.isReady ? 200 : 503, readiness);
  }),
  "/v1/metrics": look(async (operations) => {
    return new Response(await operations.metrics(), {
      headers: { ...HEADERS, "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
    });
  }),
  "/v1/config": look((operations) => reply(200, operations.config())),
  "/v1/reload": {
    method: "POST",
    keys: ["modules"],
    answer: async (operations, { modules }) => replyReport(await operations.reload(readNames(modules))),
  },
  "/v1/stop": {
    method: "POST",
    keys: ["force"],
    answer: (operations, { force = false }) => {
      if (typeof force !== "boolean") throw new Refused(400, '"force" is neither true nor false.', "Leave it out to drain.");
      operations.stop("hrmr stop", force);
      return reply(202, { ok: true, pid: process.pid });
    },
  },
  "/v1/restart": { method: "POST", answer: async (operations) => replyReport(await operations.restart()) },
  "/v1/upgrade": { method: "POST", answer: async (operations) => replyReport(await operations.upgrade()) },
};

/** Of every reply. A connection carries one request, so that none is left open when the server ends. */
const HEADERS = { Server: SERVER_NAME, Connection: "close" } as const;

/**
 * Answers one request. Never rejects: what the client did wrong, and what the operation throws, becomes a reply of `{ error, hint }`.
 *
 * @param report  is told what is a bug in hrmr
 */
export async function answerControl(request: Request, operations: Operations, report: (error: unknown) => void): Promise<Response> {
  try {
    const route = findRoute(request);
    const body = route.method === "POST" ? await readBody(request, route.keys ?? []) : {};
    return await route.answer(operations, body);
  } catch (error) {
    if (error instanceof Refused) return reply(error.status, { error: error.message, hint: error.hint }, error.headers);
    if (error instanceof UserError) return reply(422, { error: error.message, hint: error.hint ?? "" });
    report(error);
    return reply(500, { error: "This is a bug in hrmr.", hint: "Please report it with the lines in the server's log." });
  }
}

/** A route that changes nothing, under a deadline. */
function look(answer: (operations: Operations) => Promise<Response> | Response): Route {
  const late = new Refused(504, `The server's processes did not answer in ${LOOK_DEADLINE_MS / 1000} s.`, "Its log may tell why.");
  return { method: "GET", answer: (operations) => underDeadline(answer(operations), LOOK_DEADLINE_MS, late) };
}

async function underDeadline<Value>(work: Promise<Value> | Value, deadlineMs: number, late: Refused): Promise<Value> {
  const passed = Promise.withResolvers<never>();
  const timer = setTimeout(() => passed.reject(late), deadlineMs);
  try {
    return await Promise.race([work, passed.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function findRoute(request: Request): Route {
  const { pathname } = new URL(request.url);
  const route = Object.hasOwn(ROUTES, pathname) ? ROUTES[pathname] : undefined;
  if (route === undefined) {
    const paths = Object.keys(ROUTES);
    throw new Refused(404, `There is no ${pathname}.`, suggest(pathname, paths) || `There are ${paths.join(", ")}.`);
  }
  const allowed = route.method === "GET" ? ["GET", "HEAD"] : ["POST"];
  if (allowed.includes(request.method)) return route;
  throw new Refused(405, `${pathname} does not take ${request.method}.`, `Send ${route.method}.`, { Allow: allowed.join(", ") });
}

/** An empty body is `{}`. */
async function readBody(request: Request, keys: readonly string[]): Promise<Body> {
  const late = new Refused(408, `The body did not arrive in ${BODY_DEADLINE_MS / 1000} s.`, "Send it in one piece.");
  const text = await underDeadline(readText(request), BODY_DEADLINE_MS, late);
  if (text.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Refused(400, `The body is not JSON: ${(cause as Error).message}.`, 'Send an object like {"modules": ["greet"]}, or nothing.');
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Refused(400, "The body is not a JSON object.", 'Send an object like {"modules": ["greet"]}, or nothing.');
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown === undefined) return value as Body;
  const known = keys.length === 0 ? "It takes none." : `It takes ${keys.map((key) => `"${key}"`).join(", ")}.`;
  throw new Refused(400, `The body has a key that is not known, ${JSON.stringify(unknown)}.`, suggest(unknown, keys) || known);
}

/** Reads no more than may be read: a chunked body does not say its length. */
async function readText(request: Request): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = Number(request.headers.get("Content-Length") ?? 0);
  if (length <= MAX_BODY_BYTES && request.body !== null) {
    length = 0;
    for await (const piece of request.body as unknown as AsyncIterable<Uint8Array>) {
      pieces.push(piece);
      length += piece.length;
      if (length > MAX_BODY_BYTES) break;
    }
  }
  if (length <= MAX_BODY_BYTES) return Buffer.concat(pieces).toString();
  throw new Refused(413, `The body is larger than ${MAX_BODY_BYTES} bytes.`, "Name fewer modules, or leave them out to reload all.");
}

function readNames(modules: unknown): string[] | null {
  if (modules === undefined || modules === null) return null;
  const isList = Array.isArray(modules) && modules.length > 0 && modules.every((name) => typeof name === "string" && name !== "");
  if (isList) return modules as string[];
  throw new Refused(400, '"modules" is not a list of names.', 'Write {"modules": ["greet"]}, or leave it out to reload all.');
}

/** 422: the request was understood, and what it asked for failed. */
function replyReport(report: { readonly ok: boolean }): Response {
  return reply(report.ok ? 200 : 422, report);
}

function reply(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { ...HEADERS, ...type, ...headers } });
}
