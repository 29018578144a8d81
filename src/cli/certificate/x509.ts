/**
 * Makes X.509 certificates (RFC 5280) with ECDSA P-256 keys, without openssl: Bun's crypto makes the key and signs, the
 * DER is our own.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import {
  bitString,
  booleanTrue,
  explicit,
  implicit,
  integer,
  objectId,
  octetString,
  sequence,
  setOf,
  time,
  utf8String,
} from "./der";

const OIDS = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyId: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

// KeyUsage's bits, counted from the left (RFC 5280 section 4.2.1.3): digitalSignature is bit 0, keyCertSign bit 5.
const DIGITAL_SIGNATURE = { bits: 0x80, unusedBits: 7 };
const KEY_CERT_SIGN = { bits: 0x04, unusedBits: 2 };

// GeneralName's tags (RFC 5280 section 4.2.1.6).
const DNS_NAME = 2;
const IP_ADDRESS = 7;

const SERIAL_BYTES = 16;
const DAY_MS = 86_400_000;
/** The certificate begins this much earlier, for clients whose clock is behind. */
const BACKDATE_MS = 3_600_000;

/** A certificate with its key. The PEM texts end with a line end. */
interface Issued {
  readonly commonName: string;
  readonly certificatePem: string;
  /** PKCS #8, not encrypted. */
  readonly keyPem: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly validTo: Date;
}

interface CertificateOptions {
  commonName: string;
  /** DNS names, also "*.example.org", in ASCII; and IP addresses without brackets. May be empty. */
  names: readonly string[];
  /** Counted from now. Negative: a certificate that has expired. */
  days: number;
  /** Its purpose. Default "server". */
  purpose?: "server" | "client" | "authority";
  /** The signer. Default: its own key. */
  issuer?: Issued;
}

/** Makes a new key and a certificate for it. */
export function issueCertificate(options: CertificateOptions): Issued {
  const { commonName, days, issuer } = options;
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const validTo = new Date(Math.floor((Date.now() + days * DAY_MS) / 1000) * 1000);
  const validFrom = new Date(Math.min(Date.now() - BACKDATE_MS, validTo.getTime() - DAY_MS));
  const algorithm = sequence(objectId(OIDS.ecdsaWithSha256));
  const toBeSigned = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    algorithm,
    distinguishedName(issuer?.commonName ?? commonName),
    sequence(time(validFrom), time(validTo)),
    distinguishedName(commonName),
    publicKey.export({ type: "spki", format: "der" }),
    explicit(3, extensions(options, publicKey)),
  );
  const signature = sign("sha256", toBeSigned, { key: issuer?.privateKey ?? privateKey, dsaEncoding: "der" });
  return {
    commonName,
    certificatePem: pem("CERTIFICATE", sequence(toBeSigned, algorithm, bitString(signature))),
    keyPem: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    privateKey,
    publicKey,
    validTo,
  };
}

/** Random and positive (RFC 5280 section 4.1.2.2): browsers refuse a second certificate with a known number. */
function serialNumber(): Buffer {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

function distinguishedName(commonName: string): Buffer {
  return sequence(setOf(sequence(objectId(OIDS.commonName), utf8String(commonName))));
}

function extensions({ names, purpose = "server", issuer }: CertificateOptions, publicKey: KeyObject): Buffer {
  const isAuthority = purpose === "authority";
  const usage = isAuthority ? KEY_CERT_SIGN : DIGITAL_SIGNATURE;
  const items = [
    // Not an authority: a client that trusts a development certificate trusts this key for these names, and nothing
    // that it could sign.
    extension(OIDS.basicConstraints, true, sequence(...(isAuthority ? [booleanTrue()] : []))),
    extension(OIDS.keyUsage, true, bitString(Buffer.from([usage.bits]), usage.unusedBits)),
    extension(OIDS.subjectKeyId, false, octetString(keyId(publicKey))),
    extension(OIDS.authorityKeyId, false, sequence(implicit(0, keyId(issuer?.publicKey ?? publicKey)))),
  ];
  if (!isAuthority) {
    items.push(
      extension(
        OIDS.extendedKeyUsage,
        false,
        sequence(objectId(purpose === "client" ? OIDS.clientAuth : OIDS.serverAuth)),
      ),
    );
  }
  if (names.length > 0) items.push(extension(OIDS.subjectAltName, false, sequence(...names.map(generalName))));
  return sequence(...items);
}

function extension(oid: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(objectId(oid), ...(isCritical ? [booleanTrue()] : []), octetString(value));
}

/**
 * RFC 5280 section 4.2.1.2, method 1: SHA-1 of the key's bits; for an uncompressed P-256 point the last 65 bytes of the
 * SPKI.
 */
function keyId(publicKey: KeyObject): Buffer {
  return createHash("sha1")
    .update(publicKey.export({ type: "spki", format: "der" }).subarray(-65))
    .digest();
}

function generalName(name: string): Buffer {
  if (isIP(name) === 0) return implicit(DNS_NAME, Buffer.from(name, "ascii"));
  return implicit(IP_ADDRESS, isIP(name) === 4 ? Buffer.from(name.split(".").map(Number)) : ipv6Bytes(name));
}

/** @param address valid, without a zone */
function ipv6Bytes(address: string): Buffer {
  // URL spells it in hexadecimal groups only, even if it ended like an IPv4 address.
  const plain = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const groups = (text: string | undefined) => (text === undefined || text === "" ? [] : text.split(":"));
  const left = groups(head);
  const right = groups(tail);
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => "0"), ...right];
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}
