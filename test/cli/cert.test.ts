import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as der from "../../src/cli/certificate/der";
import { issueCertificate } from "../../src/cli/certificate/x509";
import { callProgram } from "../support/call-program";
import { runProgram, startProgram } from "../support/program";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-cert-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const NO_OPENSSL = Bun.which("openssl") === null ? "no openssl" : "";
const NO_CURL = Bun.which("curl") === null ? "no curl" : "";
const DAY_MS = 86_400_000;

describe("hrmr cert", () => {
  test("writes a certificate for this machine's names and those it is given, and a key for its owner only", async () => {
    const hosts = [
      "--host",
      "Dev.Example",
      "--host",
      "*.dev.example",
      "--host",
      "[2001:db8::5]",
      "--host",
      "10.1.2.3",
      "--host",
      "bücher.example",
    ];
    const { exitCode, stdout, stderr } = await callProgram(["cert", ...hosts, "--out", "made/here", "--days", "30"], {
      cwd: root,
    });
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("hrmr --tls-cert made/here/cert.pem --tls-key made/here/key.pem");
    const certificate = new X509Certificate(readFileSync(join(root, "made/here/cert.pem")));
    const names = ["localhost", "dev.example", "*.dev.example", "xn--bcher-kva.example"];
    for (const name of names) expect(certificate.checkHost(name.replace("*", "x"))).toBeDefined();
    for (const address of ["127.0.0.1", "::1", "2001:db8::5", "10.1.2.3"])
      expect(certificate.checkIP(address)).toBe(address);
    expect(certificate.checkHost("other.example")).toBeUndefined();
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    const key = createPrivateKey(readFileSync(join(root, "made/here/key.pem")));
    expect([key.asymmetricKeyType, key.asymmetricKeyDetails?.namedCurve]).toEqual(["ec", "prime256v1"]);
    expect(certificate.checkPrivateKey(key)).toBe(true);
    expect(Math.round((Date.parse(certificate.validTo) - Date.now()) / DAY_MS)).toBe(30);
    expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now());
    expect(statSync(join(root, "made/here/key.pem")).mode & 0o777).toBe(0o600);
  });

  test.each(["cert.pem", "key.pem"])("overwrites no %s, and writes nothing beside it", async (file) => {
    const cwd = mkdtempSync(join(root, "kept-"));
    writeFileSync(join(cwd, file), "mine");
    const { exitCode, stdout, stderr } = await callProgram(["cert"], { cwd });
    expect(stderr).toBe(
      `${join(cwd, file)} is there already, and hrmr cert overwrites nothing.\nMove it away, or choose another folder with --out DIR.\n`,
    );
    expect([exitCode, stdout, readdirSync(cwd), readFileSync(join(cwd, file), "utf8")]).toEqual([
      1,
      "",
      [file],
      "mine",
    ]);
  });

  test.each(["a b", "http://x", "x:80", "*", "a.*.b", "-a", "", "a..b"])("refuses %p for a name", async (name) => {
    const cwd = mkdtempSync(join(root, "bad-"));
    const { exitCode, stderr } = await callProgram(["cert", `--host=${name}`], { cwd });
    expect(stderr).toContain("--host");
    expect([exitCode, readdirSync(cwd)]).toEqual([2, []]);
  });

  test("a folder that cannot be made is told, and leaves nothing", async () => {
    writeFileSync(join(root, "file"), "");
    const { exitCode, stderr } = await callProgram(["cert", "--out", "file/x"], { cwd: root });
    expect(stderr).toContain(`Cannot write ${join(root, "file/x/key.pem")} (ENOTDIR).`);
    expect(exitCode).toBe(1);
  });

  test.skipIf(NO_CURL !== "")(
    "the flags that it prints start a server that curl trusts with the command it prints",
    async () => {
      const cwd = mkdtempSync(join(root, "used-"));
      await runProgram(["cert"], { cwd });
      const server = await startProgram(["--port", "0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"], { cwd });
      try {
        for (const host of ["localhost", "127.0.0.1"]) {
          const curl = Bun.spawnSync(
            ["curl", "-sS", "--max-time", "60", "--cacert", "cert.pem", `https://${host}:${server.port}/health`],
            {
              cwd,
            },
          );
          expect(`${curl.stdout}${curl.stderr}`).toContain('"status":"ok"');
        }
      } finally {
        await server.stop();
      }
    },
  );

  test.skipIf(NO_OPENSSL !== "")("openssl reads every field as it was meant, and verifies the chain strictly", () => {
    const authority = issueCertificate({ commonName: "Root ü", names: [], days: 20_000, purpose: "authority" });
    const leaf = issueCertificate({
      commonName: "leaf",
      names: ["a.example", "::ffff:1.2.3.4"],
      days: 10,
      issuer: authority,
    });
    const [ca, cert] = [join(root, "ca.pem"), join(root, "leaf.pem")];
    writeFileSync(ca, authority.certificatePem);
    writeFileSync(cert, leaf.certificatePem);
    const openssl = (...args: string[]) => {
      const { stdout, stderr } = Bun.spawnSync(["openssl", ...args]);
      return `${stdout}${stderr}`;
    };
    expect(
      openssl("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.example", "-CAfile", ca, cert),
    ).toBe(`${cert}: OK\n`);
    const text = openssl("x509", "-in", cert, "-noout", "-text");
    for (const line of [
      "Version: 3 (0x2)",
      "Signature Algorithm: ecdsa-with-SHA256",
      "Issuer: CN = Root \\C3\\BC",
      "Subject: CN = leaf",
      "X509v3 Basic Constraints: critical\n                CA:FALSE",
      "X509v3 Key Usage: critical\n                Digital Signature",
      "TLS Web Server Authentication",
      "DNS:a.example, IP Address:0:0:0:0:0:FFFF:102:304",
    ]) {
      expect(text).toContain(line);
    }
    // Beyond 2049: another type of time.
    expect(openssl("x509", "-in", ca, "-noout", "-text")).toMatch(/Not After : \w+ +\d+ [\d:]+ 208\d GMT/);
  });
});

describe("DER", () => {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  test("lengths take the fewest bytes", () => {
    expect(hex(der.octetString(Buffer.alloc(127))).slice(0, 4)).toBe("047f");
    expect(hex(der.octetString(Buffer.alloc(128))).slice(0, 6)).toBe("048180");
    expect(hex(der.octetString(Buffer.alloc(256))).slice(0, 8)).toBe("04820100");
    expect(hex(der.octetString(Buffer.alloc(65_536))).slice(0, 10)).toBe("0483010000");
  });

  test("integers are positive and as short as can be", () => {
    expect(
      [[], [0], [0, 0], [127], [128], [0, 0, 1], [0, 200]].map((bytes) => hex(der.integer(Buffer.from(bytes)))),
    ).toEqual(["020100", "020100", "020100", "02017f", "02020080", "020101", "020200c8"]);
  });

  test("object identifiers, times and tags are those of X.690", () => {
    expect(hex(der.objectId("1.2.840.10045.4.3.2"))).toBe("06082a8648ce3d040302");
    expect(hex(der.objectId("2.5.29.17"))).toBe("0603551d11");
    expect(der.time(new Date("2049-12-31T23:59:59Z")).toString("latin1")).toBe("\x17\x0d491231235959Z");
    expect(der.time(new Date("2050-01-01T00:00:00Z")).toString("latin1")).toBe("\x18\x0f20500101000000Z");
    expect(hex(der.explicit(3, der.sequence(der.booleanTrue())))).toBe("a30530030101ff");
    expect(hex(der.implicit(2, Buffer.from("a")))).toBe("820161");
    expect(hex(der.bitString(Buffer.from([0x80]), 7))).toBe("03020780");
    expect(hex(der.setOf(der.utf8String("ü")))).toBe("31040c02c3bc");
  });
});
