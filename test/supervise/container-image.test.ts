/**
 * The image is not built here. The lines of its Dockerfile about hrmr are run: the command, its environment and the
 * health check.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { runProgram, startProgram } from "../support/program";

const ROOT = resolve(import.meta.dir, "../..");
const dockerfile = readFileSync(join(ROOT, "Dockerfile"), "utf8");

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The words of an instruction in its exec form; the last one that the file has. */
function wordsOf(instruction: string): string[] {
  const match = [...dockerfile.matchAll(new RegExp(`^${instruction} .*?(\\[.*\\])$`, "gm"))].at(-1);
  return JSON.parse(match?.[1] ?? "[]") as string[];
}

function valuesOf(instruction: string): string[] {
  return [...dockerfile.matchAll(new RegExp(`^${instruction} (.*)$`, "gm"))].map((match) => match[1] ?? "");
}

test("its server listens on every address, says that it lives, and ends well by its stop signal", async () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-image-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  const [stateDir = ""] = valuesOf("VOLUME");
  mkdirSync(join(dir, "state"));
  const env = Object.fromEntries(
    valuesOf("ENV").map((value) => value.replace(stateDir, join(dir, "state")).split("=")),
  );
  const [program, ...health] = wordsOf("HEALTHCHECK");
  expect(wordsOf("ENTRYPOINT")).toEqual([program ?? "none"]);
  expect(valuesOf("COPY").filter((copy) => copy.endsWith(` ${program}`))).toHaveLength(1);

  const server = await startProgram([...wordsOf("CMD"), "--port", "0"], { cwd: dir, env });
  cleanups.push(() => server.stop());
  expect(server.listening[0]).toStartWith("tcp://0.0.0.0:");
  expect((await runProgram(health, { cwd: dir, env })).exitCode).toBe(0);
  server.signal(valuesOf("STOPSIGNAL")[0] as NodeJS.Signals);
  expect(await server.exited).toBe(0);
  expect((await runProgram(health, { cwd: dir, env })).exitCode).toBe(1);
});

test("its port is the default one, and its user is not root", () => {
  expect(valuesOf("EXPOSE")).toEqual(["8080"]);
  expect(valuesOf("USER")).toEqual(["nonroot"]);
});

test("what it copies by name is there, and what the build reads is not kept from it", () => {
  const ignored = readFileSync(join(ROOT, ".dockerignore"), "utf8").split("\n");
  const named = valuesOf("COPY")
    .filter((copy) => !copy.startsWith("-"))
    .flatMap((copy) => copy.split(" ").slice(0, -1));
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  const needed = [
    "src",
    "modules",
    "static_html",
    "examples",
    "build.ts",
    "bunfig.toml",
    "tsconfig.json",
    "package.json",
  ];
  expect([...named, ...needed].filter((path) => ignored.includes(path))).toEqual([]);
});
