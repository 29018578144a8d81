import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../../package.json";
import { ask } from "../support/client";
import { program, runProgram, startProgram } from "../support/program";
import { until } from "../support/until";

let root: string;
let project: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-start-"));
  project = join(root, "project");
  mkdirSync(join(project, "modules"), { recursive: true });
  const module = `import { defineModule } from "hrmr";
export default defineModule({
  routes: {
    PING: () => "PONG\\n",
    HOLD: { async connect(connection) { await connection.write("held\\n"); await new Promise(() => {}); } },
  },
});
`;
  writeFileSync(join(project, "modules/ping.ts"), module);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("hrmr start", () => {
  test("is what hrmr alone does, takes -port and -threads as the original spelled them, and says where it listens", async () => {
    const server = await startProgram(["-port", "0", "-threads", "2"], { cwd: project });
    try {
      const [line] = server.output().split("\n");
      expect(line).toMatch(
        new RegExp(
          `^hrmr ${version}  http://127\\.0\\.0\\.1:${server.port}/   \\d+ modules?, \\d+ routes?, ready in \\d+ ms$`,
        ),
      );
      expect((await runProgram(["send", `127.0.0.1:${server.port}`, "PING"])).stdout).toBe("PONG\n");
    } finally {
      expect(await server.stop()).toBe(0);
    }
  });

  test("--listen may be repeated: each listener has its line, and serves", async () => {
    const path = join(root, "s.sock");
    const server = await startProgram(["start", "--listen", "tcp://127.0.0.1:0", "--listen", `unix://${path}`], {
      cwd: project,
    });
    try {
      expect(server.listening).toEqual([`tcp://127.0.0.1:${server.port}`, `unix://${path}`]);
      expect(await ask(path, "PING")).toBe("PONG\n");
    } finally {
      await server.stop();
    }
  });

  test("a port in use exits with 1 and names address and way out", async () => {
    const holder = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    try {
      const { exitCode, stdout, stderr } = await runProgram(["--port", String(holder.port)], { cwd: project });
      expect(stderr).toContain(`127.0.0.1:${holder.port}`);
      expect(stderr).toContain("EADDRINUSE");
      expect(stderr).not.toContain("    at ");
      expect(stdout).toBe("");
      expect(exitCode).toBe(1);
    } finally {
      holder.stop(true);
    }
  });

  test("without a modules folder it serves the embedded page and says how to make a project", async () => {
    const cwd = mkdtempSync(join(root, "empty-"));
    const server = await startProgram(["-p", "0"], { cwd });
    try {
      await server.waitFor("hrmr init hub");
      expect((await fetch(`http://127.0.0.1:${server.port}/`)).status).toBe(200);
    } finally {
      await server.stop();
    }
  });

  test("a stdout that nobody reads does not end it", async () => {
    const path = join(root, "mute.sock");
    const child = Bun.spawn([...program(), "--listen", `unix://${path}`], {
      cwd: project,
      stdout: "pipe",
      stderr: "ignore",
    });
    try {
      await child.stdout.cancel();
      expect(await until("it answers", async () => await ask(path, "PING").catch(() => ""))).toBe("PONG\n");
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
  });
});

describe("signals", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s drains and exits with 0", async (signal) => {
    const server = await startProgram(["--port", "0"], { cwd: project });
    try {
      server.signal(signal);
      expect(await server.exited).toBe(0);
      await server.waitFor(signal);
    } finally {
      await server.stop();
    }
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("a second %s ends at once with %i, whatever is under way", async (signal, exitCode) => {
    const server = await startProgram(["--port", "0"], { cwd: project });
    const client = createConnection(server.port, "127.0.0.1", () => client.write("HOLD"));
    client.on("error", () => {});
    try {
      const held = Promise.withResolvers<void>();
      client.once("data", () => held.resolve());
      await held.promise;
      server.signal(signal);
      await server.waitFor(`${signal}: finishing what is under way`);
      server.signal(signal);
      expect(await server.exited).toBe(exitCode);
    } finally {
      client.destroy();
      await server.stop();
    }
  });

  test("SIGHUP reloads and logs the verdict", async () => {
    const server = await startProgram(["--port", "0"], { cwd: project });
    try {
      server.signal("SIGHUP");
      await server.waitFor(/info {2}SIGHUP: OK/);
      expect(await ask(server.port, "PING")).toBe("PONG\n");
    } finally {
      await server.stop();
    }
  });
});
