/**
 * The control socket's HTTP API: finds the operation that a request asks for, and answers with its outcome.
 * docs/control.md describes it.
 */
import { suggest } from "../config/nearest";
import { UserError } from "../config/user-error";
import { type Answered, type Audit, noteOutcome } from "./audit";
import { readJson } from "./body";
import { type ActRoute, type ControlCall, type LookRoute, MODULE_ROUTES, type Route } from "./routes";
import type { Operations } from "../reload/operations";
import { orderFor } from "../reload/order";
import { badRequest, HEADERS, Refused, reply, replyRefused } from "./reply";
import { underDeadline } from "../system/deadline";

/**
 * Deadline of requests that only look at the server: a process that hangs must not make its operator wait. In
 * milliseconds.
 */
const LOOK_DEADLINE_MS = 10_000;

/** Answers requests from the socket and from TCP. */
export interface ControlApi {
  readonly operations: Operations;
  readonly audit: Audit;
  /** Gets errors that are bugs in hrmr. */
  report(error: unknown): void;
}

const BEGUN: Answered & { readonly pid: number } = { ok: true, pid: process.pid };

/** By path; NAME stands for a module's name. */
const ROUTES: Readonly<Record<string, Route | readonly Route[]>> = {
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
    action: "reload",
    keys: ["modules", "force"],
    act: (operations, { modules, force = false }) => {
      if (typeof force !== "boolean") {
        throw badRequest('"force" is neither true nor false.', "Leave it out to pass over held-back versions.");
      }
      const names = readNames(modules);
      return operations.reload(orderFor(names, force ? { forced: names } : {}));
    },
  },
  "/v1/stop": {
    method: "POST",
    action: "stop",
    keys: ["force"],
    status: 202,
    act: (operations, { force = false }) => {
      if (typeof force !== "boolean") throw badRequest('"force" is neither true nor false.', "Leave it out to drain.");
      operations.stop("hrmr stop", force);
      return BEGUN;
    },
  },
  "/v1/restart": { method: "POST", action: "restart", act: (operations) => operations.restart() },
  "/v1/upgrade": { method: "POST", action: "upgrade", act: (operations) => operations.upgrade() },
  ...MODULE_ROUTES,
};

/** Statuses other than 422 for errors that the user can mend. */
const STATUS_OF: Readonly<Record<string, number>> = {
  UPLOAD_NAME: 400,
  UPLOAD_PATH: 400,
  UPLOAD_SHAPE: 400,
  NO_SUCH_MODULE: 404,
  NO_SUCH_TASK: 404,
  TASK_RUNS: 409,
  NO_BACKGROUND: 503,
  UPLOAD_BUSY: 503,
};

/**
 * Answers one request. Never rejects: a mistake of the client, and an error of the operation, become a reply of `{
 * error, hint }`.
 *
 * @param by  the sender, for the audit log
 */
export async function answerControl(request: Request, by: string, api: ControlApi): Promise<Response> {
  try {
    const { route, module } = findRoute(request);
    const call = { request, by, module };
    return await ("act" in route ? act(route, call, api) : route.answer(api.operations, call));
  } catch (error) {
    return replyRefused(refusalOf(error, api.report));
  }
}

async function act(route: ActRoute, call: ControlCall, { operations, audit, report }: ControlApi): Promise<Response> {
  const { method, action, keys = [], status = 200 } = route;
  const { request, by, module } = call;
  const body = method === "POST" && keys !== null ? await readJson(request, keys) : {};
  const modules = module !== "" ? [module] : Array.isArray(body["modules"]) ? body["modules"].map(String) : null;
  try {
    const answered = await route.act(operations, body, call);
    noteOutcome(audit, { by, action, modules }, answered);
    // 422: the request was understood, but its operation failed.
    return reply(answered.ok ? status : 422, answered);
  } catch (error) {
    const refused = refusalOf(error, report);
    noteOutcome(audit, { by, action, modules }, { ok: false, text: refused.message });
    throw refused;
  }
}

function refusalOf(error: unknown, report: ControlApi["report"]): Refused {
  if (error instanceof Refused) return error;
  if (error instanceof UserError) return new Refused(STATUS_OF[error.code] ?? 422, error.message, error.hint ?? "");
  report(error);
  return new Refused(500, "This is a bug in hrmr.", "Please report it with the lines in the server's log.");
}

/** A route that only looks, under a deadline. */
function look(answer: (operations: Operations) => Promise<Response> | Response): LookRoute {
  const late = new Refused(
    504,
    `The server's processes did not answer in ${LOOK_DEADLINE_MS / 1000} s.`,
    "Its log may tell why.",
  );
  return { method: "GET", answer: (operations) => underDeadline(answer(operations), LOOK_DEADLINE_MS, late) };
}

function readNames(modules: unknown): string[] | null {
  if (modules === undefined || modules === null) return null;
  const isList =
    Array.isArray(modules) && modules.length > 0 && modules.every((name) => typeof name === "string" && name !== "");
  if (isList) return modules as string[];
  throw badRequest('"modules" is not a list of names.', 'Write {"modules": ["greet"]}, or leave it out to reload all.');
}

/** @throws Refused 404 or 405, or 400 for a name with a broken encoding */
function findRoute(request: Request): { route: Route; module: string } {
  const { pathname } = new URL(request.url);
  const named = /^\/v1\/modules\/([^/]+)(\/[a-z]+)?$/.exec(pathname);
  const path = named === null ? pathname : `/v1/modules/NAME${named[2] ?? ""}`;
  const found = Object.hasOwn(ROUTES, path) && (named !== null || !path.includes("NAME")) ? ROUTES[path] : undefined;
  if (found === undefined) {
    const paths = Object.keys(ROUTES);
    throw new Refused(404, `There is no ${pathname}.`, suggest(pathname, paths) || `There are ${paths.join(", ")}.`);
  }
  const routes = Array.isArray(found) ? (found as readonly Route[]) : [found as Route];
  const route = routes.find(
    ({ method }) => method === request.method || (method === "GET" && request.method === "HEAD"),
  );
  if (route !== undefined) return { route, module: decodeName(named?.[1] ?? "") };
  const allowed = routes.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  const wanted = routes.map(({ method }) => method).join(" or ");
  throw new Refused(405, `${pathname} does not take ${request.method}.`, `Send ${wanted}.`, {
    Allow: allowed.join(", "),
  });
}

function decodeName(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw badRequest(
      "The module's name in the path is not encoded well.",
      "Write it as in `hrmr modules`, each byte but letters as %XX.",
    );
  }
}
