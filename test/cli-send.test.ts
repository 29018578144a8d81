import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "./support/program";

/** Answers at the client's FIN with what it got, then closes. */
const echo: Bun.SocketHandler<{ held: string }> = {
  open: (socket) => {
    socket.data = { held: "" };
  },
  data: (socket, bytes) => {
    socket.data.held += bytes.toString();
  },
  end: (socket) => {
    socket.write(`you said: ${socket.data.held}`);
    socket.end();
  },
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hrmr-send-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `hrmr send` with `args` against a server of its own on a free port. */
async function sendTo(socket: Bun.SocketHandler<{ held: string }>, args: string[], stdin?: string) {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, allowHalfOpen: true, socket });
  try {
    return await runProgram(["send", `127.0.0.1:${listener.port}`, ...args], stdin === undefined ? {} : { stdin });
  } finally {
    listener.stop(true);
  }
}

describe("hrmr send", () => {
  test("sends the text as it is, ends its side, and prints the reply until the server closes", async () => {
    expect(await sendTo(echo, ["GREET bob", "--wait", "0"])).toEqual({ exitCode: 0, stdout: "you said: GREET bob", stderr: "" });
  });

  test("- sends what comes on stdin", async () => {
    const text = "many lines\n".repeat(50_000);
    const { exitCode, stdout } = await sendTo(echo, ["-", "--wait", "0"], text);
    expect(stdout === `you said: ${text}`).toBe(true);
    expect(exitCode).toBe(0);
  });

  test("a text that begins with a dash is sent after --", async () => {
    expect((await sendTo(echo, ["--wait", "0", "--", "--port"])).stdout).toBe("you said: --port");
  });

  test("a server that never closes is left after --wait ms of quiet, and its reply is printed", async () => {
    const { exitCode, stdout } = await sendTo({ data: (socket) => void socket.write("PONG\n") }, ["PING", "--wait", "100"]);
    expect(stdout).toBe("PONG\n");
    expect(exitCode).toBe(0);
  });

  test("a reset in the middle of the reply exits with 1 and says so", async () => {
    const { exitCode, stderr } = await sendTo({ data: (socket) => socket.terminate() }, ["PING"]);
    expect(stderr).toContain("cut the connection (ECONNRESET)");
    expect(exitCode).toBe(1);
  });

  test("unix:///path reaches a unix socket", async () => {
    const path = join(folder, "echo.sock");
    const listener = Bun.listen({ unix: path, allowHalfOpen: true, socket: echo });
    try {
      expect((await runProgram(["send", `unix://${path}`, "PING", "--wait", "0"])).stdout).toBe("you said: PING");
    } finally {
      listener.stop(true);
    }
  });

  test("a port where nobody listens exits with 1 and says which", async () => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    const { exitCode, stdout, stderr } = await runProgram(["send", `127.0.0.1:${port}`, "PING"]);
    expect(stderr).toStartWith(`Cannot connect to tcp://127.0.0.1:${port} (ECONNREFUSED).\n`);
    expect(stdout).toBe("");
    expect(exitCode).toBe(1);
  });

  test("a unix socket that is not there exits with 1", async () => {
    const { exitCode, stderr } = await runProgram(["send", `unix://${folder}/none.sock`, "PING"]);
    expect(stderr).toContain("Cannot connect to unix://");
    expect(exitCode).toBe(1);
  });
});
