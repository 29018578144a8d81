/**
 * The server's certificates: read from their files, checked, and picked by the client's server name. A reload builds
 * all of them again and swaps them in one assignment, so that a handshake never sees a mixture.
 */
import type { KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { createSecureContext } from "node:tls";
import type { TlsOptions, TlsVersion } from "../../config/options";
import { UserError } from "../../config/user-error";
import type { Dispatch } from "../../protocol/wire";

/** Loaded with the first certificate: a start without TLS does not wait for it. */
const nodeCrypto = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto");

/** The engine's own context for upgradeTLS: `context` of node:tls's wrapper. */
type SecureContext = object;

/** The files and settings of one certificate. */
interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly minVersion: TlsVersion;
  /** null: the default one. */
  readonly serverNames: readonly string[] | null;
}

interface ContextSet {
  readonly fallback: SecureContext;
  /** By host name; "*.b.example" under ".b.example". */
  readonly byName: ReadonlyMap<string, SecureContext>;
  /** All contents that were read: equal ones need no swap. */
  readonly contents: string;
  /** The end of validity of the certificate that expires first. */
  readonly expiresAt: Date;
  readonly expiresFirst: string;
}

const PROTOCOL_NAMES = { "1.2": "TLSv1.2", "1.3": "TLSv1.3" } as const;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
/** ALPN protocol names in wire format (RFC 7301 section 3.1): Bun refuses a list, and misreads a plain text. */
const HTTP1_ONLY = Buffer.from("\x08http/1.1", "latin1");
const HTTP2_FIRST = Buffer.from("\x02h2\x08http/1.1", "latin1");

/**
 * The protocols offered by ALPN, best first. Nothing else decides this. A server that shuts down does not offer HTTP/2:
 * no new one may begin then, and HTTP/1.1 answers one more request.
 */
export function alpnProtocols({ offersHttp2, isDraining }: Dispatch): Buffer {
  return offersHttp2 === true && !isDraining ? HTTP2_FIRST : HTTP1_ONLY;
}

type MakeContext = typeof createSecureContext;

export class TlsContexts {
  readonly settings: TlsOptions;
  readonly #make: MakeContext;
  #set: ContextSet;

  private constructor(settings: TlsOptions, make: MakeContext) {
    this.settings = settings;
    this.#make = make;
    this.#set = buildSet(settings, make);
  }

  /**
   * @returns null if no certificate is configured
   * @throws UserError TLS_CONFIG for settings that do not go together; TLS_FILE naming a file that is missing,
   *   unreadable or no PEM; TLS_MISMATCH naming a key that belongs to another certificate
   */
  static async load(settings: TlsOptions): Promise<TlsContexts | null> {
    if (settings.certFile === null && settings.ciphers === null) return null;
    // Loaded late: loading node:tls takes longer than the rest of a start without TLS.
    const { createSecureContext } = await import("node:tls");
    if (settings.ciphers !== null) checkCiphers(settings.ciphers, createSecureContext);
    if (settings.certFile === null) return null;
    return new TlsContexts(settings, createSecureContext);
  }

  /** Whether every stream listener takes only TLS, like tls://, since clients need a certificate. */
  get isGate(): boolean {
    return this.settings.clientCert === "require";
  }

  /** @param serverName in lower case, "" for none */
  pick(serverName: string): SecureContext {
    const { byName, fallback } = this.#set;
    if (serverName === "" || byName.size === 0) return fallback;
    const dot = serverName.indexOf(".");
    return byName.get(serverName) ?? (dot > 0 ? byName.get(serverName.slice(dot)) : undefined) ?? fallback;
  }

  /**
   * Reads all files again. Later handshakes get the new certificates; open connections stay.
   *
   * @returns whether anything has changed
   * @throws UserError as `load`; the old ones then stay
   */
  reload(): boolean {
    const next = buildSet(this.settings, this.#make, this.#set);
    const hasChanged = next !== this.#set;
    this.#set = next;
    return hasChanged;
  }

  /** For the person who started the server; null unless a certificate has expired. */
  get expiryNote(): string | null {
    const { expiresAt, expiresFirst } = this.#set;
    if (expiresAt.getTime() > Date.now()) return null;
    return `The certificate ${expiresFirst} expired on ${expiresAt.toISOString().slice(0, 10)}: clients will refuse it.`;
  }
}

/** Notes for the person who starts or validates the server. @param listen  listen URLs */
export function tlsNotes({ expiryNote, isGate }: TlsContexts, listen: readonly string[]): string[] {
  const notes = expiryNote === null ? [] : [expiryNote];
  if (!isGate) return notes;
  if (listen.some((url) => /^(tcp|unix):/.test(url)))
    notes.push('tls.clientCert is "require": every listener takes TLS only, and cuts clients without a certificate.');
  if (listen.some((url) => url.startsWith("udp:")))
    notes.push('udp:// takes no TLS: tls.clientCert "require" does not guard it.');
  return notes;
}

/**
 * Checks each name: the engine accepts a list with one good name and ignores wrong names without an error.
 *
 * @throws UserError TLS_CONFIG naming the first wrong name
 */
function checkCiphers(ciphers: string, make: MakeContext): void {
  const say = (message: string, hint: string) => new UserError(message, { code: "TLS_CONFIG", hint });
  for (const part of ciphers.split(/[:, |[\]]+/).filter((text) => text !== "" && text !== "@STRENGTH")) {
    const name = part.replace(/^[!+-]/, "");
    if (name.startsWith("TLS_"))
      throw say(
        `tls.ciphers names ${name}: the ciphers of TLS 1.3 cannot be chosen.`,
        "Leave it out: TLS 1.3 has no weak ones.",
      );
    if (!isUsable(name, make))
      throw say(
        `tls.ciphers names ${name}, and there is no such cipher.`,
        "Write names as OpenSSL has them: ECDHE-RSA-AES128-GCM-SHA256.",
      );
  }
  if (!isUsable(ciphers, make))
    throw say(`tls.ciphers (${ciphers}) leaves no cipher.`, "Name at least one, or leave it out.");
}

function isUsable(ciphers: string, make: MakeContext): boolean {
  try {
    make({ ciphers });
    return true;
  } catch {
    return false;
  }
}

/** @param old returned unchanged if every file has the same content */
function buildSet(settings: TlsOptions, make: MakeContext, old?: ContextSet): ContextSet {
  const { clientCert, clientCaFile, ciphers } = settings;
  const read = new Map<string, string>();
  const ca = clientCert === "none" || clientCaFile === null ? null : readPem(clientCaFile, "file of authorities", read);
  const files = listFiles(settings);
  for (const { certFile, keyFile } of files) {
    readPem(certFile, "certificate", read);
    readPem(keyFile, "private key", read);
  }
  const contents = JSON.stringify([...read]);
  if (old?.contents === contents) return old;
  if (ca !== null) checkAuthorities(ca, clientCaFile as string);
  const common = { ca: ca ?? undefined, ciphers: ciphers ?? undefined };
  return { ...buildContexts(files, read, (options) => make({ ...common, ...options })), contents };
}

/** The default one first. */
function listFiles({ certFile, keyFile, minVersion, sni }: TlsOptions): CertificateFiles[] {
  const first = { certFile: certFile as string, keyFile: keyFile as string, minVersion, serverNames: null };
  return [first, ...sni.map((one) => ({ minVersion, ...one }))];
}

function buildContexts(
  files: CertificateFiles[],
  read: ReadonlyMap<string, string>,
  make: MakeContext,
): Omit<ContextSet, "contents"> {
  const byName = new Map<string, SecureContext>();
  let fallback: SecureContext | null = null;
  let expiresAt = new Date(8.64e15);
  let expiresFirst = "";
  for (const one of files) {
    const cert = read.get(one.certFile) as string;
    const key = read.get(one.keyFile) as string;
    const certificate = checkPair(one, cert, key);
    const context = makeContext(one, () => make({ cert, key, minVersion: PROTOCOL_NAMES[one.minVersion] }));
    fallback ??= context;
    // If two claim one name, the first gets it, as with modules.
    for (const name of one.serverNames ?? []) {
      const suffix = name.replace(/^\*/, "");
      if (!byName.has(suffix)) byName.set(suffix, context);
    }
    const end = new Date(certificate.validTo);
    if (end < expiresAt) [expiresAt, expiresFirst] = [end, one.certFile];
  }
  return { fallback: fallback as SecureContext, byName, expiresAt, expiresFirst };
}

function makeContext({ certFile }: CertificateFiles, make: () => ReturnType<MakeContext>): SecureContext {
  try {
    // upgradeTLS refuses the wrapper itself.
    return make().context as SecureContext;
  } catch (cause) {
    throw new UserError(`The certificate ${certFile} cannot be used: ${(cause as Error).message}.`, {
      code: "TLS_FILE",
      hint: "Make a new one, or start without TLS.",
      cause,
    });
  }
}

// ---- files ----

/** Reads a file once, even if it is named several times. @param into by path */
function readPem(path: string, what: string, into: Map<string, string>): string {
  try {
    const text = into.get(path) ?? readFileSync(path, "latin1");
    into.set(path, text);
    return text;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new UserError(`The TLS ${what} ${path} cannot be read (${code}).`, {
      code: "TLS_FILE",
      hint:
        code === "ENOENT"
          ? "Check the path; `hrmr cert` writes a certificate for development."
          : "Give this user the right to read it.",
      cause,
    });
  }
}

/** @returns the server's own certificate, the first in the file */
function checkPair({ certFile, keyFile }: CertificateFiles, cert: string, key: string): X509Certificate {
  const [first] = certificatesOf(cert);
  if (first === undefined) throw noPem(certFile, "holds no certificate", "-----BEGIN CERTIFICATE-----");
  const certificate = parseCertificate(first, certFile);
  if (!certificate.checkPrivateKey(parseKey(key, keyFile))) {
    throw new UserError(`The private key ${keyFile} does not belong to the certificate ${certFile}.`, {
      code: "TLS_MISMATCH",
      hint: "Name the two files that were made together. The server's own certificate stands first in its file.",
    });
  }
  return certificate;
}

function checkAuthorities(pem: string, path: string): void {
  const authorities = certificatesOf(pem);
  if (authorities.length === 0) throw noPem(path, "holds no certificate", "-----BEGIN CERTIFICATE-----");
  for (const authority of authorities) parseCertificate(authority, path);
}

function certificatesOf(pem: string): string[] {
  return pem.match(CERTIFICATE_BLOCK) ?? [];
}

function parseCertificate(pem: string, path: string): X509Certificate {
  try {
    return new (nodeCrypto().X509Certificate)(pem);
  } catch (cause) {
    throw noPem(path, "holds a broken certificate", "-----BEGIN CERTIFICATE-----", cause);
  }
}

function parseKey(pem: string, path: string): KeyObject {
  if (/ENCRYPTED/.test(pem)) {
    throw new UserError(`The private key ${path} is encrypted.`, {
      code: "TLS_FILE",
      hint: "Decrypt it (openssl pkey -in FILE -out NEW), and let nobody else read the new file.",
    });
  }
  try {
    return nodeCrypto().createPrivateKey(pem);
  } catch (cause) {
    throw noPem(path, "holds no private key", "-----BEGIN PRIVATE KEY-----", cause);
  }
}

function noPem(path: string, what: string, begin: string, cause?: unknown): UserError {
  return new UserError(`The TLS file ${path} ${what}.`, {
    code: "TLS_FILE",
    hint: `A PEM file is expected: it begins with ${begin}.`,
    cause,
  });
}
