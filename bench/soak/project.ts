/** The modules of the soaked server: some are edited while it runs, some stay. */
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCertificate } from "../certificate";
import { makeProject, moduleSource } from "../project";
import type { Program } from "../server";

/** Modules that are written anew again and again. */
export const EDITED = ["asked", "talk"] as const;
export type Edited = (typeof EDITED)[number];

const MODULES: Record<Edited, (version: number) => string> = {
  // Answers with the question, the version and the process: "17 v3 4711".
  asked: (version) =>
    moduleSource(`{
  routes: {
    "ASK ": { framing: "line", handle: (message) => message.text.slice(4) + " v${version} " + process.pid + "\\n" },
    "CHUNK ": (message) => message.text.slice(6) + " v${version} " + process.pid + "\\n",
    "POOL ": { framing: "line", run: "pool", handle: (message) => message.text.slice(5) + " v${version} " + process.pid + "\\n" },
    "GET /ask/:n": { fetch: (_request, { params }) => new Response(params.n + " v${version} " + process.pid + "\\n") },
    "GET /pool/:n": { run: "pool", fetch: (_request, { params }) => new Response(params.n + " v${version} " + process.pid + "\\n") },
    "POST /length/:n": {
      fetch: async (request, { params }) => {
        const { byteLength } = await request.arrayBuffer();
        return new Response(params.n + "/" + byteLength + " v${version} " + process.pid + "\\n");
      },
    },
  },
}`),
  talk: (version) =>
    moduleSource(`{
  routes: {
    "/echo": { websocket: { message: (socket, data) => void socket.send(data + " v${version} " + process.pid + "\\n") } },
    TALK: {
      async connect(connection) {
        if (connection.data === undefined) {
          await connection.readUntil("\\n");
          connection.data = { lines: 0 };
        }
        for await (const line of connection.lines()) {
          await connection.write(line + "/" + ++connection.data.lines + " v${version} " + process.pid + "\\n");
        }
      },
    },
  },
}`),
};

/** Of one stream. */
export const EVENTS_EACH = 10;

/** Events by number, a few, and then the end: a stream that is never reloaded. */
const EVENTS = moduleSource(`{
  routes: {
    "GET /events/:n": {
      fetch: (_request, { params }) =>
        new Response(
          (async function* () {
            for (let id = 1; id <= ${EVENTS_EACH}; id++) {
              yield "data: " + params.n + "/" + id + " v0 " + process.pid + "\\n\\n";
              await Bun.sleep(20);
            }
          })(),
          { headers: { "content-type": "text/event-stream" } },
        ),
    },
  },
}`);

/** Live bytes after a collection, with the process: "4711 6557444". */
const HEAP = `import { heapStats } from "bun:jsc";\n${moduleSource(`{
  routes: { "HEAP": { framing: "line", handle: () => (Bun.gc(true), process.pid + " " + heapStats().heapSize + "\\n") } },
}`)}`;

export const FILE_BYTES = 200_000;

export interface Project {
  readonly dir: string;
  readonly socket: string;
  /** Writes a version of a module. */
  edit(name: Edited, version: number): void;
  /** Writes into the project. */
  write(path: string, text: string): void;
  remove(path: string): void;
}

/** The config file, whose limits a SIGHUP changes. Nothing in it needs a restart. */
export function configText(maxBodyBytes: number): string {
  return JSON.stringify({
    limits: { maxBodyBytes, maxConnectionsPerAddress: 5000 },
    timeouts: { drainMs: 5000, headMs: 5000, requestMs: 5000 },
    threads: 2,
    log: { format: "json" },
  });
}

/** Size of a body that is refused under every limit that a SIGHUP sets. */
export const MOST_BODY_BYTES = 1_000_000;

export async function makeSoakProject(program: Program): Promise<{ project: Project; flags: string[] }> {
  const dir = makeProject({
    "modules/asked.ts": MODULES.asked(1),
    "modules/talk.ts": MODULES.talk(1),
    "modules/events.ts": EVENTS,
    "modules/heap.ts": HEAP,
    "hrmr.json": configText(MOST_BODY_BYTES),
    "static_html/index.html": "<!doctype html>\n",
  });
  writeFileSync(join(dir, "static_html", "file.bin"), randomBytes(FILE_BYTES));
  const { cert, key } = await makeCertificate({ program });
  const socket = join(dir, "soak.sock");
  const write = (path: string, text: string) => writeFileSync(join(dir, path), text);
  const edit = (name: Edited, version: number) => write(`modules/${name}.ts`, MODULES[name](version));
  const listen = ["tcp://127.0.0.1:0", `unix://${socket}`, "udp://127.0.0.1:0"].flatMap((url) => ["--listen", url]);
  return {
    project: { dir, socket, edit, write, remove: (path) => rmSync(join(dir, path)) },
    flags: [...listen, "--tls-cert", cert, "--tls-key", key],
  };
}
