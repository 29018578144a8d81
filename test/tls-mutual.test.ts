import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import type { ConnectionOptions } from "node:tls";
import { Hub, moduleSource, withHub } from "./support/hub";
import { clientAuthority, pairFiles, serverCertificate, TlsClient } from "./support/tls";

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

function withPolicy(clientCert: string, run: (hub: Hub) => Promise<void>): Promise<void> {
  const tls = { certFile: "cert.pem", keyFile: "key.pem", clientCaFile: "ca.pem", clientCert };
  const files = {
    "modules/m.ts": MODULE,
    ...pairFiles(serverCertificate("first.example")),
    "ca.pem": GOOD.authority.certificatePem,
    "hrmr.json": JSON.stringify({ tls }),
  };
  return withHub(files, ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0"], run);
}

/** What the server knows of the client; null if it cut the connection, in the handshake or behind it, without an answer. */
async function identify(port: number, options: ConnectionOptions): Promise<{ authorized: boolean; peer: unknown } | null> {
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
          expect(`${name} ${(await identify(hub.port, options))?.authorized ?? "cut"}`).toBe(`${name} ${name === "good" ? true : "cut"}`);
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

  test('"none" asks nobody, and a certificate that was sent unasked would be nobody\'s', () =>
    withPolicy("none", async (hub) => {
      for (const [, options] of CERTIFICATES) expect(await identify(hub.port, options)).toMatchObject({ authorized: false, peer: null });
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
        expect(JSON.parse((await second.send("WHO\n").waitFor("}\n")).trim())).toMatchObject({ authorized: name === "good" });
        second.close();
      }
    }),
  );
});
