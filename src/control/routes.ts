/** Requests to the control API, and the routes that answer them. */
import type { Operations, UploadLimits } from "../reload/operations";
import type { Answered } from "./audit";
import { type Body, readBytes } from "./body";
import type { ModuleContent } from "../reload/upload/names";
import { boundaryOf, readMultipart } from "./multipart";
import { badRequest, Refused, reply } from "./reply";

/** A request with its sender. */
export interface ControlCall {
  readonly request: Request;
  /** The sender, for the audit log. */
  readonly by: string;
  /** The NAME in the path, decoded; "": the path has none. */
  readonly module: string;
}

/** Looks at the server, and changes nothing. */
export interface LookRoute {
  readonly method: "GET";
  answer(operations: Operations, call: ControlCall): Promise<Response> | Response;
}

/** An order to the server. The audit log keeps its outcome. */
export interface ActRoute {
  readonly method: "POST" | "DELETE";
  /** Its name in the audit log. */
  readonly action: string;
  /** Keys that the JSON body may have. Default: none. null: the route reads the body itself. */
  readonly keys?: readonly string[] | null;
  /** The reply's status if it succeeded. Default 200. */
  readonly status?: number;
  /** @returns the reply's JSON */
  act(operations: Operations, body: Body, call: ControlCall): Promise<Answered> | Answered;
}

export type Route = LookRoute | ActRoute;

/** A sender that pauses for so long is given up. In milliseconds. */
const PAUSE_MS = 10_000;
/** The overhead of multipart/form-data for each file. In bytes. */
const PART_BYTES = 1024;
/** The name of a raw body's file, in a query or a header. */
const FILE_PARAMETER = "file";
const FILE_HEADER = "X-File-Name";

/** By path; NAME stands for a module's name. */
export const MODULE_ROUTES: Readonly<Record<string, Route | readonly Route[]>> = {
  "/v1/modules/NAME": [
    {
      method: "POST",
      keys: null,
      action: "push",
      act: async ({ uploads }, _, call) => uploads.push(call.module, await readUpload(call, uploads.limits())),
    },
    { method: "DELETE", action: "remove", act: ({ uploads }, _, { module }) => uploads.remove(module) },
  ],
  "/v1/modules/NAME/files": {
    method: "GET",
    answer: async ({ uploads }, { module }) => reply(200, await uploads.pull(module)),
  },
  "/v1/versions": { method: "GET", answer: async (operations) => reply(200, await operations.versions(null)) },
  "/v1/modules/NAME/versions": {
    method: "GET",
    answer: async (operations, { module }) => {
      const versions = await operations.versions(module);
      if (versions[module]?.length) return reply(200, versions);
      throw new Refused(404, `No version of a module "${module}" is kept.`, "`hrmr versions` lists the kept ones.");
    },
  },
  "/v1/modules/NAME/rollback": {
    method: "POST",
    action: "rollback",
    keys: ["version"],
    act: (operations, { version = null }, { module }) => {
      const isRight = version === null || typeof version === "string" || Number.isSafeInteger(version);
      if (!isRight)
        throw badRequest('"version" is neither a number nor a hash.', "Leave it out for the last good one.");
      return operations.rollback(module, version === null ? null : String(version));
    },
  },
  "/v1/modules/NAME/run": {
    method: "POST",
    action: "run",
    keys: ["task"],
    act: (operations, { task }, { module }) => {
      if (typeof task === "string") return operations.runTask(module, task);
      throw badRequest('"task" is missing.', 'Write the name of a task: {"task":"tidy"}.');
    },
  },
};

async function readUpload(
  { request, module }: ControlCall,
  { maxBytes, maxFiles }: UploadLimits,
): Promise<ModuleContent[]> {
  const tooLarge = new Refused(
    413,
    `The upload is larger than ${maxBytes} bytes.`,
    "Send less, or raise control.maxUploadBytes on the server.",
  );
  const tooMany = new Refused(
    413,
    `The upload has more than ${maxFiles} files.`,
    "Send fewer, or raise control.maxUploadFiles on the server.",
  );
  const boundary = boundaryOf(request.headers.get("Content-Type") ?? "");
  if (boundary === null)
    return [{ path: rawName(request, module), bytes: await readBytes(request, maxBytes, tooLarge, PAUSE_MS) }];
  const body = await readBytes(request, maxBytes + maxFiles * PART_BYTES, tooLarge, PAUSE_MS);
  const files = readMultipart(body, boundary, maxFiles, tooMany);
  if (files.reduce((sum, { bytes }) => sum + bytes.length, 0) > maxBytes) throw tooLarge;
  return files;
}

/** `curl --data-binary @greet.ts` sends the file's bytes without its name. */
function rawName(request: Request, module: string): string {
  return new URL(request.url).searchParams.get(FILE_PARAMETER) ?? request.headers.get(FILE_HEADER) ?? `${module}.ts`;
}
