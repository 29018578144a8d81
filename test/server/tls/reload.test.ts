import { describe, expect, test } from "bun:test";
import { type Hub, makeProject, moduleSource, reuseHubs } from "../../support/hub";
import { runProgram } from "../../support/program";
import { askTls, clientAuthority, pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../../support/tls";
import { issueCertificate } from "../../../src/cli/certificate/x509";
import { rmSync } from "node:fs";
import { join } from "node:path";

const reused = reuseHubs();

const MODULE = moduleSource(`{
  routes: {
    "VERSION": { framing: "line", handle: () => "one\\n" },
    "/v": { fetch: () => new Response("one") },
  },
}`);
const FILES = { "modules/m.ts": MODULE, ...pairFiles(serverCertificate("old.example")) };
const ARGS = ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", ...TLS_FLAGS];

function replace(hub: Hub, name: string): void {
  for (const [file, text] of Object.entries(pairFiles(serverCertificate(name)))) hub.write(file, text);
}

async function servedName(hub: Hub): Promise<string> {
  const client = await TlsClient.connect(hub.port);
  try {
    return client.serverName;
  } finally {
    client.close();
  }
}

describe("a reload of certificates", () => {
  test("serves new connections with the new one and keeps the old connections; RELOAD tells it only when they changed", () =>
    reused(FILES, ARGS, async (hub) => {
      const old = await TlsClient.connect(hub.port);
      expect(await hub.ask("RELOAD")).toMatch(/^OK 2 modules unchanged \(.*\)\n$/);
      replace(hub, "new.example");
      expect(await servedName(hub)).toBe("old.example");
      expect(await hub.ask("RELOAD m")).not.toContain("certificates");
      expect(await servedName(hub)).toBe("old.example");
      // Asked over TLS itself.
      expect(await old.send("RELOAD\n").waitFor("certificates")).toMatch(
        /^OK 2 modules unchanged \(.*\)\n {2}certificates reloaded\n$/,
      );
      expect(await servedName(hub)).toBe("new.example");
      expect(await old.clear().send("VERSION\n").waitFor("\n")).toBe("one\n");
      expect(old.serverName).toBe("old.example");
      old.close();
      expect(await hub.ask("RELOAD")).not.toContain("certificates");
    }));

  test("by SIGHUP does the same, and logs it", () =>
    reused(FILES, ARGS, async (hub) => {
      replace(hub, "new.example");
      hub.program.signal("SIGHUP");
      await hub.program.waitFor(/SIGHUP: OK 2 modules unchanged .*\n\s+certificates reloaded/);
      expect(await servedName(hub)).toBe("new.example");
    }));

  test("that meets broken files keeps the old ones, says why, and goes through once they are mended", () =>
    reused(FILES, ARGS, async (hub) => {
      const good = pairFiles(serverCertificate("new.example"));
      const cases: [file: string, text: string | null, reason: string][] = [
        ["cert.pem", null, "cannot be read (ENOENT)"],
        ["cert.pem", "", "holds no certificate"],
        ["cert.pem", (good["cert.pem"] ?? "").slice(0, 200), "holds no certificate"],
        ["cert.pem", good["cert.pem"] ?? "", "does not belong to the certificate"],
        ["key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key"],
      ];
      hub.write("modules/m.ts", MODULE.replaceAll("one", "two"));
      for (const [file, text, reason] of cases) {
        if (text === null) hub.remove(file);
        else hub.write(file, text);
        const verdict = await hub.ask("RELOAD");
        expect(verdict).toStartWith("ERR certificates were not reloaded: ");
        expect(verdict).toContain(reason);
        expect(verdict).toContain(join(hub.dir, file));
        expect(verdict).toContain("The old ones stay in use.");
        expect(await servedName(hub)).toBe("old.example");
        // The modules are reloaded all the same.
        expect(await askTls(hub.port, "VERSION\n")).toBe("two\n");
        for (const [name, content] of Object.entries(FILES)) if (name === file) hub.write(name, content);
      }
      expect(await hub.ask("RELOAD")).toStartWith("OK 2 modules unchanged");
      for (const [name, content] of Object.entries(good)) hub.write(name, content);
      expect(await hub.ask("RELOAD")).toContain("certificates reloaded");
      expect(await servedName(hub)).toBe("new.example");
    }));

  test("20 times in a row fails none of 200 connections that open, ask and close meanwhile", () =>
    reused(FILES, ARGS, async (hub) => {
      const old = await TlsClient.connect(hub.port);
      let left = 200;
      const replies: string[] = [];
      const client = async () => {
        while (left-- > 0) replies.push(await askOnce(hub.port));
      };
      const swaps = async () => {
        for (let at = 0; at < 20; at++) {
          replace(hub, `swap${at}.example`);
          expect(await hub.ask("RELOAD")).toContain("certificates reloaded");
        }
      };
      await Promise.all([swaps(), client(), client(), client(), client()]);
      expect(replies.length).toBe(200);
      expect(new Set(replies)).toEqual(new Set(["one\n"]));
      expect(await servedName(hub)).toBe("swap19.example");
      expect(await old.send("VERSION\n").waitFor("\n")).toBe("one\n");
      old.close();
    }));

  test("a session of the old certificate is no ticket for the new one: the client shakes hands anew", () =>
    reused(FILES, ARGS, async (hub) => {
      const first = await TlsClient.connect(hub.port);
      await first.send("VERSION\n").waitFor("\n");
      const session = await first.waitForSession();
      first.close();
      replace(hub, "new.example");
      await hub.ask("RELOAD");
      const second = await TlsClient.connect(hub.port, { session });
      expect([second.socket.isSessionReused(), second.serverName]).toEqual([false, "new.example"]);
      await second.send("VERSION\n").waitFor("one\n");
      second.close();
    }));

  test("modules are reloaded under a TLS keep-alive connection without a failure", () =>
    reused(FILES, ARGS, async (hub) => {
      const client = await TlsClient.connect(hub.port);
      const get = async () => {
        const text = await client.clear().send("GET /v HTTP/1.1\r\nHost: x\r\n\r\n").waitFor("\r\n\r\nv");
        return /v\d+$/.exec(text)?.[0];
      };
      for (let version = 1; version <= 10; version++) {
        hub.write("modules/m.ts", MODULE.replaceAll("one", `v${version}`));
        expect(await hub.ask("RELOAD")).toStartWith("OK");
        expect(await get()).toBe(`v${version}`);
      }
      client.close();
    }));
});

describe("certificates at the start", () => {
  const OTHER = serverCertificate("other.example");
  const bad: [what: string, args: string[], files: Record<string, string>, lines: RegExp, exitCode: number][] = [
    [
      "a missing certificate",
      TLS_FLAGS,
      { "cert.pem": "" },
      /The TLS file \S+cert\.pem holds no certificate\.\n.*PEM.*\n$/,
      1,
    ],
    [
      "a missing file",
      ["--tls-cert", "no.pem", "--tls-key", "key.pem"],
      {},
      /The TLS certificate \S+no\.pem cannot be read \(ENOENT\)\.\n.*hrmr cert.*\n$/,
      1,
    ],
    [
      "a missing key file",
      ["--tls-cert", "cert.pem", "--tls-key", "no.pem"],
      {},
      /The TLS private key \S+no\.pem cannot be read \(ENOENT\)\.\n.*\n$/,
      1,
    ],
    [
      "a key that is a certificate",
      ["--tls-cert", "cert.pem", "--tls-key", "cert.pem"],
      {},
      /The TLS file \S+cert\.pem holds no private key\.\n.*\n$/,
      1,
    ],
    [
      "a key of another certificate",
      TLS_FLAGS,
      { "key.pem": OTHER.keyPem },
      /The private key \S+key\.pem does not belong to the certificate \S+cert\.pem\.\n.*\n$/,
      1,
    ],
    [
      "an encrypted key",
      TLS_FLAGS,
      {
        "key.pem": String(
          OTHER.privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }),
        ),
      },
      /The private key \S+key\.pem is encrypted\.\n.*openssl pkey.*\n$/,
      1,
    ],
    [
      "a certificate without a key",
      ["--tls-cert", "cert.pem"],
      {},
      /^--tls-cert needs --tls-key beside it\.\n.*hrmr cert.*\n$/,
      2,
    ],
    ["a key without a certificate", ["--tls-key", "key.pem"], {}, /^--tls-key needs --tls-cert beside it\.\n.*\n$/, 2],
    [
      "the same in the file",
      [],
      { "hrmr.json": `{ "tls": { "certFile": "cert.pem" } }` },
      /^\S+hrmr\.json has a mistake:\n {2}hrmr\.json:1:12: tls\.certFile is set, and tls\.keyFile is not\. .*\n.*\n$/,
      1,
    ],
    [
      "a tls:// listener without any",
      ["--listen", "tls://127.0.0.1:0"],
      {},
      /^Cannot listen on tls:\/\/127\.0\.0\.1:0: there is no certificate\.\n.*--tls-cert.*\n$/,
      1,
    ],
    [
      "required client certificates without authorities",
      TLS_FLAGS,
      { "hrmr.json": `{ "tls": { "clientCert": "require" } }` },
      /^\S+hrmr\.json has a mistake:\n {2}hrmr\.json:1:12: tls\.clientCert is "require", and tls\.clientCaFile is not set\. .*\n.*\n$/,
      1,
    ],
    [
      "authorities that are none",
      TLS_FLAGS,
      { "hrmr.json": `{ "tls": { "clientCert": "require", "clientCaFile": "key.pem" } }` },
      /^The TLS file \S+key\.pem holds no certificate\.\n.*\n$/,
      1,
    ],
    [
      "a cipher that is none",
      TLS_FLAGS,
      { "hrmr.json": `{ "tls": { "ciphers": "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GMC-SHA256" } }` },
      /^tls\.ciphers names ECDHE-RSA-AES128-GMC-SHA256, and there is no such cipher\.\nWrite names as OpenSSL has them: \S+\n$/,
      1,
    ],
    [
      "a cipher that is none, without a certificate",
      [],
      { "hrmr.json": `{ "tls": { "ciphers": "nonsense" } }` },
      /^tls\.ciphers names nonsense, and there is no such cipher\.\n.*\n$/,
      1,
    ],
    [
      "a cipher of TLS 1.3",
      TLS_FLAGS,
      { "hrmr.json": `{ "tls": { "ciphers": "TLS_AES_128_GCM_SHA256" } }` },
      /^tls\.ciphers names TLS_AES_128_GCM_SHA256: the ciphers of TLS 1\.3 cannot be chosen\.\n.*\n$/,
      1,
    ],
    [
      "no cipher at all",
      TLS_FLAGS,
      { "hrmr.json": `{ "tls": { "ciphers": "AES128-SHA:!ALL" } }` },
      /^tls\.ciphers \(AES128-SHA:!ALL\) leaves no cipher\.\n.*\n$/,
      1,
    ],
    [
      "names without a default",
      [],
      {
        "hrmr.json": `{ "tls": { "sni": [{ "serverNames": ["a.example"], "certFile": "cert.pem", "keyFile": "key.pem" }] } }`,
      },
      /^\S+hrmr\.json has a mistake:\n {2}hrmr\.json:1:12: tls\.sni has certificates, and tls\.certFile names none for all other clients\n.*\n$/,
      1,
    ],
  ];
  test.each(bad)("%s is told, and what to do", async (_, args, files, lines, exitCode) => {
    const dir = makeProject({ ...FILES, ...files });
    try {
      const port = args.includes("--listen") ? [] : ["--port", "0"];
      const result = await runProgram([...port, ...args], { cwd: dir });
      expect(result.stderr).toMatch(lines);
      expect([result.exitCode, result.stdout]).toEqual([exitCode, ""]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("one that has expired is served with a note", () => {
    const expired = issueCertificate({ commonName: "late", names: ["localhost"], days: -3 });
    return reused({ ...FILES, ...pairFiles(expired) }, ARGS, async (hub) => {
      await hub.program.waitFor(/The certificate \S+cert\.pem expired on \d{4}-\d\d-\d\d: clients will refuse it\./);
      expect(await servedName(hub)).toBe("late");
    });
  });

  test("a chain is sent whole", () => {
    const { authority } = clientAuthority("x");
    const leaf = issueCertificate({ commonName: "leaf", names: ["localhost"], days: 2, issuer: authority });
    const files = { ...FILES, "cert.pem": leaf.certificatePem + authority.certificatePem, "key.pem": leaf.keyPem };
    return reused(files, ARGS, async (hub) => {
      const client = await TlsClient.connect(hub.port, {
        ca: authority.certificatePem,
        servername: "localhost",
        rejectUnauthorized: true,
      });
      expect(client.socket.authorized).toBe(true);
      expect(client.socket.getPeerCertificate(true).issuerCertificate.subject.CN).toBe("x authority");
      client.close();
    });
  });

  test("mistakes in the file are told by their place", async () => {
    const tls = {
      minVersion: "1.1",
      clientCert: "maybe",
      sni: [{ serverNames: ["A.example"], certFile: "c" }, 3],
      handshakeTimeoutMs: -1,
    };
    const dir = makeProject({
      "hrmr.json": JSON.stringify({ tls }),
      "two.json": JSON.stringify({ tls: { sni: [tls.sni[0]] } }),
    });
    try {
      const first = (await runProgram([], { cwd: dir })).stderr;
      expect(first).toContain('tls.minVersion must be one of "1.2", "1.3", not "1.1"');
      expect(first).toContain('tls.clientCert must be one of "none", "request", "require", not "maybe"');
      expect(first).toContain("tls.sni[1] must be an object, not 3");
      expect(first).toContain("tls.handshakeTimeoutMs must be");
      const second = (await runProgram(["--config", "two.json"], { cwd: dir })).stderr;
      expect(second).toContain("tls.sni[0].keyFile is missing");
      expect(second).toContain('tls.sni[0].serverNames[0] must be a lower-case host name, not "A.example"');
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

/** A connection of its own. @returns the reply; throws if anything fails */
async function askOnce(port: number): Promise<string> {
  const client = await TlsClient.connect(port);
  try {
    return await client.send("VERSION\n").waitFor("\n");
  } finally {
    client.close();
  }
}
