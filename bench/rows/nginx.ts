/** Static files by the module that ships with hrmr, against nginx with one worker and sendfile. */
import { randomFillSync } from "node:crypto";
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bench, Line, Row } from "../bench";
import { compare } from "../compare";
import { makeProject, moduleSource } from "../project";
import { exactly, type Expectation } from "../reply";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine, skippedLine } from "../table";
import { httpRequest, TEXT_TYPE } from "./http";
import { startArguments } from "./start-arguments";

interface Case {
  name: string;
  title: string;
  file: string;
  bytes: number;
  connections: number;
  most: number;
}

const OTHER = moduleSource(`{ routes: { PING: () => "PONG\\n" } }`);
/** Longer files are compared as they come. */
const MAX_KEPT_BYTES = 65_536;

/** Text without repetition, or bytes. */
function content({ file, bytes }: Case): Buffer {
  if (file.endsWith(".txt"))
    return Buffer.from(Array.from({ length: bytes / 16 }, (_, i) => `${String(i).padStart(15, ".")}\n`).join(""));
  return randomFillSync(Buffer.alloc(bytes));
}

async function startNginx(root: string): Promise<Started> {
  const started = await startBaseline("nginx.ts", root, makeProject({}));
  const worker = Number(/^worker (\d+);/m.exec(started.output())?.[1]);
  return { ...started, name: "nginx", pid: worker };
}

async function againstNginx(bench: Bench, one: Case): Promise<Line[]> {
  const dir = makeProject({ "modules/other.ts": OTHER, "static_html/index.html": "" });
  const root = join(dir, "static_html");
  const path = join(root, one.file);
  const body = content(one);
  // Flushed, so that the kernel does not write to the disk during the measurement.
  writeFileSync(path, body, { flush: true });
  // A file that was written just now is not cached, for it may still be being written.
  utimesSync(path, new Date("2026-01-01"), new Date("2026-01-01"));
  const spec = (textType: string) => {
    const http = { type: one.file.endsWith(".txt") ? textType : "application/octet-stream" };
    const reply: Expectation =
      body.length > MAX_KEPT_BYTES
        ? { http, pattern: "", file: path }
        : { http, pattern: exactly(body.toString("latin1")) };
    return { connections: one.connections, request: httpRequest(`/${one.file}`), reply };
  };
  const server = await startProcess("hrmr", startArguments(bench), dir);
  let bound: Started | null = null;
  try {
    bound = await startNginx(root);
    const result = await compare(bench, { server, spec: spec(TEXT_TYPE) }, { server: bound, spec: spec("text/plain") });
    return [comparisonLine(`${one.title} : nginx`, result, one.most)];
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

function nginxRow(one: Case): Row {
  return {
    name: one.name,
    async run(bench) {
      if (Bun.which("nginx") === null) return [skippedLine(one.title, "nginx is not installed")];
      return await againstNginx(bench, one);
    },
  };
}

export const nginxSmallRow = nginxRow({
  name: "nginx-1k",
  title: "static file of 1 KB",
  file: "file.txt",
  bytes: 1024,
  connections: 64,
  most: 0.5,
});
export const nginxMiddleRow = nginxRow({
  name: "nginx-100k",
  title: "static file of 100 KB",
  file: "file.txt",
  bytes: 102_400,
  connections: 64,
  most: 0.95,
});
export const nginxLargeRow = nginxRow({
  name: "nginx-100m",
  title: "static file of 100 MB, 4 connections",
  file: "file.bin",
  bytes: 104_857_600,
  connections: 4,
  most: 0.85,
});
