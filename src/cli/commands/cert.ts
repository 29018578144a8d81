/**
 * `hrmr cert`: writes a self-signed certificate for development, and its key.
 */
import { existsSync, mkdirSync, unlinkSync } from "node:fs";
import { isIP } from "node:net";
import { join, relative, resolve } from "node:path";
import { domainToASCII } from "node:url";
import { defineCommand } from "citty";
import { quoteForShell } from "../screen/terminal";
import { isServerName } from "../../config/listen";
import { UserError } from "../../config/user-error";
import { createFile } from "../../system/files/durable";
import { badValue, type Flags, repeated, valueFlag } from "../flags";
import { issueCertificate } from "../certificate/x509";

const CERTIFICATE_FILE = "cert.pem";
const KEY_FILE = "key.pem";
const DEFAULT_DAYS = 365;
/** Always included: clients ask a development server for these names. */
const LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"];
const OWNER_ONLY = 0o600;

const args = {
  host: valueFlag("name", "A further name or IP address to be valid for. May be repeated", { canRepeat: true }),
  out: valueFlag("dir", "Folder to write to; made if missing. Default: this one"),
  days: valueFlag(
    "number",
    `Days it is valid. Default ${DEFAULT_DAYS}; browsers refuse more than 398 unless they trust it explicitly`,
    { integer: { min: 1, max: 36_500 } },
  ),
} as const satisfies Flags;

export const certCommand = defineCommand({
  meta: { name: "cert", description: "Write a self-signed TLS certificate for development; existing files are kept" },
  args,
  run({ args: flags, rawArgs }) {
    const names = [...new Set([...LOCAL_NAMES, ...repeated(rawArgs, "host").map(readName)])];
    const dir = resolve(flags.out ?? ".");
    const certificate = issueCertificate({
      commonName: "hrmr development",
      names,
      days: Number(flags.days ?? DEFAULT_DAYS),
    });
    writePair(dir, certificate.certificatePem, certificate.keyPem);
    const shown = (file: string) => relative(process.cwd(), join(dir, file));
    const [cert, key] = [shown(CERTIFICATE_FILE), shown(KEY_FILE)];
    console.log(
      `wrote  ${cert}  for ${names.join(", ")}; valid until ${certificate.validTo.toISOString().slice(0, 10)}`,
    );
    console.log(`wrote  ${key}  its private key, readable by you only`);
    console.log(`\nNext:\n  hrmr --tls-cert ${quoteForShell(cert)} --tls-key ${quoteForShell(key)}`);
    console.log(`  curl --cacert ${quoteForShell(cert)} https://localhost:8080/`);
  },
});

/** @returns the name in its form for a certificate: ASCII, lower case; @throws UserError BAD_VALUE */
function readName(text: string): string {
  const bare = text.replace(/^\[(.*)\]$/, "$1");
  if (isIP(bare) !== 0 && !bare.includes("%")) return bare.toLowerCase();
  const wildcard = text.startsWith("*.") ? "*." : "";
  const name = wildcard + domainToASCII(text.slice(wildcard.length));
  // URL accepts other spellings of an IP address; clients that read certificates do not.
  if (isServerName(name) && isIP(name) === 0) return name;
  throw badValue(
    `--host cannot take ${JSON.stringify(text)}.`,
    "Pass a name, *.name or an IP address, without a port.",
  );
}

/** Writes both or neither. @throws UserError CERT_EXISTS or CANNOT_WRITE */
function writePair(dir: string, certificatePem: string, keyPem: string): void {
  const certificate = join(dir, CERTIFICATE_FILE);
  const key = join(dir, KEY_FILE);
  const taken = [certificate, key].find((path) => existsSync(path));
  if (taken !== undefined) throw fileExists(taken);
  // "wx" refuses a file that was made since then. The mode is set from the start: a key must never be readable by
  // others.
  writeNew(key, keyPem, OWNER_ONLY);
  try {
    writeNew(certificate, certificatePem, 0o644);
  } catch (error) {
    unlinkSync(key);
    throw error;
  }
}

function writeNew(path: string, text: string, mode: number): void {
  try {
    mkdirSync(resolve(path, ".."), { recursive: true });
    createFile(path, text, mode);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST" && existsSync(path)) throw fileExists(path);
    throw new UserError(`Cannot write ${path} (${code}).`, {
      code: "CANNOT_WRITE",
      hint: "Choose a folder that you may write to with --out DIR.",
      cause,
    });
  }
}

function fileExists(path: string): UserError {
  return new UserError(`${path} is there already, and hrmr cert overwrites nothing.`, {
    code: "CERT_EXISTS",
    hint: "Move it away, or choose another folder with --out DIR.",
  });
}
