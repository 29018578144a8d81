import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moduleSource, withHub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { runProgram, startProgram } from "../support/program";
import { serverCertificate } from "../support/tls";

/** Answers the client's FIN with the received bytes, then closes. */
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

/** Runs `hrmr send` with `args` against a server of its own on a free port; the real program if there is stdin. */
async function sendTo(socket: Bun.SocketHandler<{ held: string }>, args: string[], stdin?: string) {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, allowHalfOpen: true, socket });
  const words = ["send", `127.0.0.1:${listener.port}`, ...args];
  try {
    return await (stdin === undefined ? callProgram(words) : runProgram(words, { stdin }));
  } finally {
    listener.stop(true);
  }
}

describe("hrmr send", () => {
  test("sends the text as it is, ends its side, and prints the reply until the server closes", async () => {
    expect(await sendTo(echo, ["GREET bob", "--wait", "0"])).toEqual({
      exitCode: 0,
      stdout: "you said: GREET bob",
      stderr: "",
    });
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
    const { exitCode, stdout } = await sendTo({ data: (socket) => void socket.write("PONG\n") }, [
      "PING",
      "--wait",
      "100",
    ]);
    expect(stdout).toBe("PONG\n");
    expect(exitCode).toBe(0);
  });

  test("a server that sends nothing within --wait ms costs exit code 1, and is told", async () => {
    const { exitCode, stdout, stderr } = await sendTo({ data: () => {}, end: () => {} }, ["PING", "--wait", "100"]);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+ sent no reply within 0\.1 s\.\n--wait MS waits longer/);
  });

  test("a reply of nothing, with the end of the connection, is a reply", async () => {
    const { exitCode, stdout, stderr } = await sendTo({ data: () => {}, end: (socket) => void socket.end() }, ["PING"]);
    expect([exitCode, stdout, stderr]).toEqual([0, "", ""]);
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
      expect((await callProgram(["send", `unix://${path}`, "PING", "--wait", "0"])).stdout).toBe("you said: PING");
    } finally {
      listener.stop(true);
    }
  });

  test("a port where nobody listens exits with 1 and says which", async () => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    const { exitCode, stdout, stderr } = await callProgram(["send", `127.0.0.1:${port}`, "PING"]);
    expect(stderr).toStartWith(`Cannot connect to tcp://127.0.0.1:${port} (ECONNREFUSED).\n`);
    expect(stdout).toBe("");
    expect(exitCode).toBe(1);
  });

  test("a unix socket that is not there exits with 1", async () => {
    const { exitCode, stderr } = await callProgram(["send", `unix://${folder}/none.sock`, "PING"]);
    expect(stderr).toContain("Cannot connect to unix://");
    expect(exitCode).toBe(1);
  });

  test("unix:PATH may be relative", async () => {
    const listener = Bun.listen({ unix: join(folder, "near.sock"), allowHalfOpen: true, socket: echo });
    try {
      const { stdout } = await callProgram(["send", "unix:near.sock", "PING", "--wait", "0"], { cwd: folder });
      expect(stdout).toBe("you said: PING");
    } finally {
      listener.stop(true);
    }
  });
});

describe("hrmr send with TLS", () => {
  const certificate = serverCertificate("a.example");
  const stranger = serverCertificate("b.example");
  let ca: string;
  let otherCa: string;
  beforeAll(() => {
    ca = join(folder, "ca.pem");
    otherCa = join(folder, "other.pem");
    writeFileSync(ca, certificate.certificatePem);
    writeFileSync(otherCa, stranger.certificatePem);
  });

  /** Runs `hrmr send` against a TLS server that notes the received bytes. */
  async function sendTls(flags: string[], { address = "127.0.0.1", names = certificate } = {}) {
    let received = "";
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      allowHalfOpen: true,
      tls: { key: names.keyPem, cert: names.certificatePem },
      socket: { ...echo, data: (socket, bytes) => ((received += bytes.toString()), echo.data?.(socket, bytes)) },
    });
    try {
      const result = await callProgram(["send", `${address}:${listener.port}`, "PING", "--wait", "0", ...flags]);
      return { ...result, received, stderr: result.stderr.replaceAll(String(listener.port), "PORT") };
    } finally {
      listener.stop(true);
    }
  }

  const ANSWERED = { exitCode: 0, stdout: "you said: PING", stderr: "", received: "PING" };

  test("--tls-ca trusts a certificate of its own, and ends its side as without TLS", async () => {
    expect(await sendTls(["--tls-ca", ca])).toEqual(ANSWERED);
    expect(await sendTls(["--tls-ca", ca], { address: "tls://localhost" })).toEqual(ANSWERED);
  });

  test("--tls-insecure trusts anybody", async () => {
    expect(await sendTls(["--tls-insecure"])).toEqual(ANSWERED);
    expect(await sendTls(["--tls-insecure"], { names: stranger })).toEqual(ANSWERED);
  });

  test.each([
    ["of nobody it knows", ["--tls"], "127.0.0.1", "unable to verify the first certificate"],
    ["of nobody it knows, by its address", [], "tls://127.0.0.1", "unable to verify the first certificate"],
  ])("a certificate %s gets not a byte", async (_, flags, address, reason) => {
    const { exitCode, stdout, stderr, received } = await sendTls(flags, { address });
    expect(stderr).toBe(
      `tcp://127.0.0.1:PORT is not trusted: ${reason}.\n`.replace("tcp", address.startsWith("tls") ? "tls" : "tcp") +
        "Pass --tls-ca FILE with the certificate of its authority, or its own, or --tls-insecure to trust anybody.\n",
    );
    expect([exitCode, stdout, received]).toEqual([1, "", ""]);
  });

  test("a certificate of another authority, or for another name, gets not a byte", async () => {
    const wrongCa = await sendTls(["--tls-ca", otherCa]);
    expect([wrongCa.exitCode, wrongCa.received]).toEqual([1, ""]);
    const { authority, issued } = await foreignName();
    writeFileSync(join(folder, "authority.pem"), authority);
    const wrongName = await sendTls(["--tls-ca", join(folder, "authority.pem")], { names: issued });
    expect(wrongName.stderr).toContain("127.0.0.1 is not in the cert's list");
    expect([wrongName.exitCode, wrongName.received]).toEqual([1, ""]);
  });

  test.each([
    ["speaks no TLS", { data: (socket: Bun.Socket) => void socket.end("ERR what\n") }],
    ["closes at once", { open: (socket: Bun.Socket) => void socket.end() }],
  ])("a server that %s is told to have none", async (_, handlers) => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {}, ...handlers } });
    try {
      const { exitCode, stdout, stderr } = await callProgram([
        "send",
        `127.0.0.1:${listener.port}`,
        "PING",
        "--tls-insecure",
      ]);
      expect(stderr).toBe(
        `There is no TLS with tcp://127.0.0.1:${listener.port}: the handshake failed.\nDoes the server have a certificate? Without one, leave out --tls.\n`,
      );
      expect([exitCode, stdout]).toEqual([1, ""]);
    } finally {
      listener.stop(true);
    }
  });

  test.each([
    [["--tls-ca", "/nowhere.pem"], 1, "The TLS file /nowhere.pem cannot be read (ENOENT)."],
    [["--tls-ca", "/dev/null"], 1, "The TLS file /dev/null holds no certificate."],
    [["--tls-ca", "/dev/null", "--tls-insecure"], 2, "--tls-ca and --tls-insecure say different things."],
  ])("%j exits with %i", async (flags, code, message) => {
    const { exitCode, stderr } = await callProgram(["send", "127.0.0.1:1", "PING", ...flags]);
    expect(stderr).toStartWith(`${message}\n`);
    expect(exitCode).toBe(code);
  });
});

describe("hrmr send --token-file", () => {
  const token = "0123456789abcdef-token";
  let file: string;
  beforeAll(() => {
    file = join(folder, "token");
    writeFileSync(file, `${token}\n`, { mode: 0o600 });
  });

  test.each([
    ["RELOAD greet", `RELOAD greet token:${token}`],
    ["RELOAD\n", `RELOAD token:${token}\n`],
    ["RELOAD\r\n", `RELOAD token:${token}\r\n`],
  ])("ends %j with the token, before its line end", async (text, sent) => {
    expect((await sendTo(echo, [text, "--token-file", file, "--wait", "0"])).stdout).toBe(`you said: ${sent}`);
    expect((await sendTo(echo, ["-", "--token-file", file, "--wait", "0"], text)).stdout).toBe(`you said: ${sent}`);
  });

  test("a file that others may read is refused, and nothing is sent", async () => {
    const open = join(folder, "open-token");
    writeFileSync(open, token, { mode: 0o644 });
    const { exitCode, stdout, stderr } = await sendTo(echo, ["RELOAD", "--token-file", open]);
    expect(stderr).toBe(
      `The token file ${open} may be read or written by others than its owner (mode 644).\nDo: chmod 600 ${open}\n`,
    );
    expect([exitCode, stdout]).toEqual([1, ""]);
  });

  test("to another machine without TLS it says that anybody on the way can read it", async () => {
    const { stderr } = await callProgram(["send", "example.invalid:1", "RELOAD", "--token-file", file]);
    expect(stderr).toStartWith("The token goes to tcp://example.invalid:1 unencrypted: --tls encrypts it.\n");
    expect(stderr).not.toContain(token);
  });
});

/** A certificate for another name, of an authority that is trusted. */
async function foreignName() {
  const { issueCertificate } = await import("../../src/cli/certificate/x509");
  const authority = issueCertificate({ commonName: "authority", names: [], days: 2, purpose: "authority" });
  const issued = issueCertificate({ commonName: "c.example", names: ["c.example"], days: 2, issuer: authority });
  return { authority: authority.certificatePem, issued };
}

describe("hrmr send without an address", () => {
  const MODULES = { "modules/wave.ts": moduleSource('{ routes: { WAVE: () => "waved\\n" } }') };

  test("sends to the server of the folder, whichever port it has", () =>
    withHub(MODULES, [], async (hub) => {
      expect(await runProgram(["send", "WAVE"], { cwd: hub.dir })).toEqual({
        exitCode: 0,
        stdout: "waved\n",
        stderr: "",
      });
      expect((await runProgram(["send", "-"], { cwd: hub.dir, stdin: "WAVE" })).stdout).toBe("waved\n");
      expect((await callProgram(["send", "--modules", join(hub.dir, "modules"), "WAVE"], { cwd: folder })).stdout).toBe(
        "waved\n",
      );
    }));

  test.each([
    ["a unix socket", ["--listen", "udp://127.0.0.1:0", "--listen", "unix://DIR/s.sock"], []],
    ["all addresses", ["--listen", "tcp://0.0.0.0:0"], []],
    [
      "TLS only, with a certificate of its own",
      ["--listen", "tls://127.0.0.1:0", "--tls-cert", "DIR/cert.pem", "--tls-key", "DIR/key.pem"],
      [],
    ],
    ["TLS when asked for", ["--port", "0", "--tls-cert", "DIR/cert.pem", "--tls-key", "DIR/key.pem"], ["--tls"]],
  ])("reaches a server that listens on %s", async (_, flags, extra) => {
    const cwd = mkdtempSync(join(folder, "hub-"));
    mkdirSync(join(cwd, "modules"));
    writeFileSync(join(cwd, "modules/wave.ts"), MODULES["modules/wave.ts"]);
    expect((await callProgram(["cert"], { cwd })).exitCode).toBe(0);
    const server = await startProgram(["start", ...flags.map((flag) => flag.replace("DIR", cwd))], { cwd });
    try {
      expect(await callProgram(["send", ...extra, "WAVE"], { cwd })).toEqual({
        exitCode: 0,
        stdout: "waved\n",
        stderr: "",
      });
    } finally {
      await server.stop();
    }
  });

  test("says that there is none, and that an address alone is no text", async () => {
    const cwd = mkdtempSync(join(folder, "none-"));
    mkdirSync(join(cwd, "modules"));
    const none = await callProgram(["send", "WAVE"], { cwd });
    expect(none.stderr).toStartWith("No hrmr server runs here: ");
    expect(none.exitCode).toBe(1);
    for (const address of ["localhost:8080", "tls://a:1", "unix:x"]) {
      const alone = await callProgram(["send", address], { cwd });
      expect(alone.stderr).toStartWith("hrmr send needs TEXT: ");
      expect(alone.exitCode).toBe(2);
    }
  });
});
