/** The routes for one module's files. They read the upload; `Uploads` acts on it. */
import type { ModuleContent } from "../../reload/upload/names";
import type { ControlCall, Route } from "../route";
import { readBytes } from "../body";
import { boundaryOf, readMultipart } from "../multipart";
import type { UploadLimits } from "../../reload/operations";
import { Refused, reply } from "../reply";

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
};

async function readUpload(
  { request, module }: ControlCall,
  { maxBytes, maxFiles }: UploadLimits,
): Promise<ModuleContent[]> {
  const tooLarge = new Refused(
    413,
    `The upload is larger than ${maxBytes} bytes.`,
    "control.maxUploadBytes says how large one may be.",
  );
  const tooMany = new Refused(
    413,
    `The upload has more than ${maxFiles} files.`,
    "control.maxUploadFiles says how many there may be.",
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
