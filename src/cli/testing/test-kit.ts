/**
 * Gives tests of modules under `hrmr test` the imports "hrmr" and "hrmr/test". The test runner preloads it in a plain
 * Bun process. It imports nothing of hrmr, and starts the program as users do.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
// A type only: `hrmr test` copies this file alone.
import type { TestServer, TestServerOptions } from "./test-contract";

/** The command that starts the program, as JSON. If it is set, this file is a preload. */
export const SELF_VARIABLE = "HRMR_INTERNAL_SELF";

/** If set, a module that fails ends the start. src/server uses the same name. */
const STRICT_VARIABLE = "HRMR_INTERNAL_STRICT";

/** How long a server may take to serve, and to answer `send`. In milliseconds. */
const DEADLINE_MS = 20_000;

const running = new Set<TestServer>();

/** Starts a separate server on a free port. @throws Error with its output if it does not serve */
export async function startTestServer({
  modules = "modules",
  config = {},
  args = [],
  mayFail = false,
}: TestServerOptions = {}): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-server-"));
  try {
    const server = await start(folder, modulesFolder(folder, modules), config, args, mayFail);
    running.add(server);
    return server;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function modulesFolder(folder: string, modules: string | Readonly<Record<string, string>>): string {
  if (typeof modules === "string") return resolve(modules);
  for (const [name, text] of Object.entries(modules)) {
    const path = join(folder, "modules", name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return join(folder, "modules");
}

async function start(
  folder: string,
  modulesDir: string,
  config: object,
  args: readonly string[],
  mayFail: boolean,
): Promise<TestServer> {
  const configFile = join(folder, "hrmr.json");
  writeFileSync(configFile, JSON.stringify(config));
  const { BUN_BE_BUN: _, [SELF_VARIABLE]: self = "[]", ...env } = process.env;
  const where = [
    "--config",
    configFile,
    "--state",
    join(folder, "state"),
    "--data",
    join(folder, "data"),
    "--modules",
    modulesDir,
  ];
  const child = Bun.spawn([...(JSON.parse(self) as string[]), "start", "--port", "0", ...where, ...args], {
    // It must end with the tests, however they end.
    env: { ...env, BUN_FEATURE_FLAG_NO_ORPHANS: "1", ...(mayFail ? null : { [STRICT_VARIABLE]: "1" }) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const ready = Promise.withResolvers<number>();
  const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      output += piece;
      const port = /^hrmr \S+ {2}http:\/\/[^\n]*:(\d+)\/[\s\S]*ready in/m.exec(output)?.[1];
      if (port !== undefined) ready.resolve(Number(port));
    }
  };
  const drained = Promise.all([gather(child.stdout), gather(child.stderr)]);
  void Promise.all([child.exited, drained]).then(() => ready.reject(new Error(`The server did not start.\n${output}`)));
  const timer = setTimeout(
    () => ready.reject(new Error(`The server did not serve within ${DEADLINE_MS} ms.\n${output}`)),
    DEADLINE_MS,
  );
  const port = await ready.promise
    .catch((error: unknown) => {
      child.kill("SIGKILL");
      throw error;
    })
    .finally(() => clearTimeout(timer));
  return handleOf(folder, port, child, () => output);
}

function handleOf(folder: string, port: number, child: Bun.Subprocess, log: () => string): TestServer {
  let stopping: Promise<void> | null = null;
  const end = async (): Promise<void> => {
    running.delete(server);
    child.kill("SIGTERM");
    await child.exited;
    rmSync(folder, { recursive: true, force: true });
  };
  const server: TestServer = {
    url: `http://127.0.0.1:${port}`,
    port,
    fetch: (path, init) => fetch(new URL(path, `http://127.0.0.1:${port}`), init),
    send: (message) => exchange(port, message),
    reload: () => exchange(port, "RELOAD\n"),
    log,
    stop: () => (stopping ??= end()),
    [Symbol.asyncDispose]: () => server.stop(),
  };
  return server;
}

async function exchange(port: number, message: string | Uint8Array): Promise<string> {
  const done = Promise.withResolvers<string>();
  const pieces: Uint8Array[] = [];
  const late = setTimeout(() => done.reject(new Error(`No end of the answer within ${DEADLINE_MS} ms.`)), DEADLINE_MS);
  let left = typeof message === "string" ? new TextEncoder().encode(message) : message;
  const push = (socket: Bun.Socket): void => {
    left = left.subarray(Math.max(0, socket.write(left)));
    if (left.length === 0) socket.shutdown();
  };
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    allowHalfOpen: true,
    socket: {
      open: push,
      drain: push,
      data: (_, bytes) => void pieces.push(bytes),
      end: (each) => void each.end(),
      close: () => done.resolve(Buffer.concat(pieces).toString()),
      error: (_, error) => done.reject(error),
    },
  });
  try {
    return await done.promise;
  } finally {
    clearTimeout(late);
    socket.terminate();
  }
}

function defineModule<T>(definition: T): T {
  return definition;
}

// Only as a preload: `hrmr test` itself imports a name from here.
if (process.env[SELF_VARIABLE] !== undefined) {
  Bun.plugin({
    name: "hrmr",
    setup(build) {
      build.module("hrmr", () => ({ loader: "object", exports: { NEED_MORE: -1, defineModule } }));
      build.module("hrmr/test", () => ({ loader: "object", exports: { startTestServer } }));
    },
  });
  const { afterAll, setDefaultTimeout } = await import("bun:test");
  // A busy machine may need more than Bun's 5 s to start a server, and the server's own error would be lost. A test may
  // set its own limit.
  setDefaultTimeout(2 * DEADLINE_MS);
  afterAll(async () => {
    await Promise.all([...running].map((server) => server.stop()));
  });
}
