import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { RawClient } from "../../support/client";
import { type Hub, moduleSource, withHub } from "../../support/hub";
import { runProgram } from "../../support/program";
import { clientAuthority, pairFiles, serverCertificate, TlsClient } from "../../support/tls";

const MODULE = moduleSource(`{
  routes: {
    "WHO": { framing: "line", handle: (message) => JSON.stringify(message.client.tls) + "\\n" },
    "COUNT": { framing: "line", handle: (_, context) => ++context.state.calls + "\\n" },
  },
  setup: () => ({ calls: 0 }),
}`);
const GOOD = clientAuthority("good");
const ROGUE = clientAuthority("rogue");
const CERTIFICATES: [name: string, options: ConnectionOptions][] = [
  ["none", {}],
  ["good", { cert: GOOD.client.certificatePem, key: GOOD.client.keyPem }],
  ["rogue", { cert: ROGUE.client.certificatePem, key: ROGUE.client.keyPem }],
];
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;

const TLS = { certFile: "cert.pem", keyFile: "key.pem", clientCaFile: "ca.pem" };

function withPolicy(clientCert: string, run: (hub: Hub) => Promise<void>, args: string[] = []): Promise<void> {
  const tls = { ...TLS, clientCert };
  const files = {
    "modules/m.ts": MODULE,
    ...pairFiles(serverCertificate("first.example")),
    "ca.pem": GOOD.authority.certificatePem,
    "hrmr.json": JSON.stringify({ tls }),
  };
  return withHub(files, ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", ...args], run);
}

/**
 * The server's facts about the client; null if it cut the connection, in the handshake or behind it, without an answer.
 */
async function identify(
  port: number,
  options: ConnectionOptions,
): Promise<{ authorized: boolean; peer: unknown } | null> {
  let client: TlsClient | null = null;
  try {
    client = await TlsClient.connect(port, options);
    return JSON.parse((await client.send("WHO\n").waitFor("}\n")).trim()) as { authorized: boolean; peer: unknown };
  } catch {
    expect(client?.text ?? "").toBe("");
    return null;
  } finally {
    client?.close();
  }
}

describe("client certificates", () => {
  test('"request" serves everybody and tells modules who is who', () =>
    withPolicy("request", async (hub) => {
      const certificate = new X509Certificate(GOOD.client.certificatePem);
      const peer = {
        subject: { CN: "good" },
        issuer: { CN: "good authority" },
        subjectAltName: "",
        serialNumber: certificate.serialNumber,
        fingerprint: certificate.fingerprint256,
        validFrom: certificate.validFrom,
        validTo: certificate.validTo,
      };
      for (const version of VERSIONS) {
        const found: Record<string, unknown> = {};
        for (const [name, options] of CERTIFICATES)
          found[name] = await identify(hub.port, { ...options, minVersion: version, maxVersion: version });
        expect(found).toMatchObject({
          none: { authorized: false, peer: null },
          good: { authorized: true, peer },
          rogue: { authorized: false, peer: { subject: { CN: "rogue" }, issuer: { CN: "rogue authority" } } },
        });
      }
    }));

  test('"require" routes no byte of a client without a certificate of the authority', () =>
    withPolicy("require", async (hub) => {
      for (const version of VERSIONS) {
        for (const [name, certificate] of CERTIFICATES) {
          const options = { ...certificate, minVersion: version, maxVersion: version };
          expect(`${name} ${(await identify(hub.port, options))?.authorized ?? "cut"}`).toBe(
            `${name} ${name === "good" ? true : "cut"}`,
          );
          // The bytes come together with the end of the handshake.
          const client = await TlsClient.connect(hub.port, options).catch(() => null);
          client?.send("COUNT\n");
          if (name === "good") await client?.waitFor("\n");
          else await client?.waitForEnd();
          client?.close();
        }
      }
      const { cert, key } = CERTIFICATES[1]?.[1] ?? {};
      const last = await TlsClient.connect(hub.port, { cert, key });
      // Two versions with one good client each came before.
      expect(await last.send("COUNT\n").waitFor("\n")).toBe("3\n");
      last.close();
    }));

  test('"require" is a gate: no listener takes plain text, and no byte of it reaches a module', async () => {
    const unix = join(tmpdir(), `hrmr-gate-${process.pid}.sock`);
    await withPolicy(
      "require",
      async (hub) => {
        await hub.program.waitFor('tls.clientCert is "require": every listener takes TLS only');
        const tlsPort = Number(/tls:\/\/[^ ]+:(\d+)/.exec(hub.program.listening.join(" "))?.[1]);
        for (const address of [hub.port, tlsPort, unix]) {
          for (const text of [
            "COUNT\n",
            "WHO\n",
            "STATUS\n",
            "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "C",
          ]) {
            const client = await RawClient.connect(address);
            await client.send(text);
            expect([text, await client.waitForEnd()]).toEqual([text, ""]);
            client.close();
          }
        }
        const { cert, key } = CERTIFICATES[1]?.[1] ?? {};
        for (const options of [
          { port: hub.port },
          { port: tlsPort },
          { path: unix, host: undefined, port: undefined },
        ]) {
          const client = await TlsClient.connect(0, { cert, key, ...options } as ConnectionOptions);
          expect(await client.send("COUNT\n").waitFor("\n")).toMatch(/^[123]\n$/);
          client.close();
        }
      },
      ["--listen", `unix://${unix}`],
    );
  });

  test("the gate is closed, and opened again, by a reload", () =>
    withPolicy("none", async (hub) => {
      const config = (clientCert: string) => JSON.stringify({ tls: { ...TLS, clientCert } });
      expect(await hub.ask("COUNT\n")).toBe("1\n");
      hub.write("hrmr.json", config("require"));
      expect((await runProgram(["reload"], { cwd: hub.dir })).exitCode).toBe(0);
      expect(await hub.ask("COUNT\n")).toBe("");
      hub.write("hrmr.json", config("request"));
      expect((await runProgram(["reload"], { cwd: hub.dir })).exitCode).toBe(0);
      expect(await hub.ask("COUNT\n")).toBe("2\n");
    }));

  test('"none" asks nobody, and a certificate that was sent unasked would be nobody\'s', () =>
    withPolicy("none", async (hub) => {
      for (const [, options] of CERTIFICATES)
        expect(await identify(hub.port, options)).toMatchObject({ authorized: false, peer: null });
    }));

  test.each(VERSIONS)("a resumed %s session is what it was: the good one authorized, the rogue one not", (version) =>
    withPolicy("request", async (hub) => {
      for (const [name, certificate] of CERTIFICATES) {
        const options = { ...certificate, minVersion: version, maxVersion: version };
        const first = await TlsClient.connect(hub.port, options);
        await first.send("WHO\n").waitFor("}\n");
        const session = await first.waitForSession();
        first.close();
        const second = await TlsClient.connect(hub.port, { ...options, session });
        expect(second.socket.isSessionReused()).toBe(true);
        expect(JSON.parse((await second.send("WHO\n").waitFor("}\n")).trim())).toMatchObject({
          authorized: name === "good",
        });
        second.close();
      }
    }),
  );
});
