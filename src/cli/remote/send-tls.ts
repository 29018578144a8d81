/** TLS of `hrmr send`: reads its flags, and checks that the right server answered. */
import { readFileSync } from "node:fs";
import { formatListen, type ListenAddress } from "../../config/listen";
import { UserError } from "../../config/user-error";
import { badValue, type Flags, type Given, switchFlag, valueFlag } from "../flags";

export const TLS_ARGS = {
  tls: switchFlag("Speak TLS, as with tls://HOST:PORT"),
  "tls-ca": valueFlag("file", "Speak TLS, and trust certificates of this authority (PEM), or this certificate itself"),
  "tls-insecure": switchFlag("Speak TLS, and trust any server"),
} as const satisfies Flags;

export type TlsFlags = Given<typeof TLS_ARGS>;

/** Options for Bun.connect. */
export interface ClientTls {
  readonly ca?: string;
  readonly rejectUnauthorized: boolean;
}

/**
 * @returns null: plain text
 * @throws UserError BAD_VALUE for flags that contradict each other; TLS_FILE for a file that is missing or no PEM
 */
export function readTlsFlags(flags: TlsFlags, isTlsAddress: boolean): ClientTls | null {
  const { "tls-ca": caFile, "tls-insecure": isInsecure = false } = flags;
  if (caFile !== undefined && isInsecure)
    throw badValue("--tls-ca and --tls-insecure say different things.", "Pass one of them.");
  if (caFile !== undefined) return { ca: readAuthorities(caFile), rejectUnauthorized: true };
  return isInsecure || isTlsAddress || flags.tls === true ? { rejectUnauthorized: !isInsecure } : null;
}

/** @returns PEM. @throws UserError TLS_FILE */
export function readAuthorities(file: string): string {
  const hint = "Name the PEM file of the authority that the server's certificate comes from.";
  const pem = readTlsFile(file, hint);
  if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  throw new UserError(`The TLS file ${file} holds no certificate.`, { code: "TLS_FILE", hint });
}

/** @throws UserError TLS_FILE */
export function readTlsFile(file: string, hint = "Check the path and the file's permissions."): string {
  try {
    return readFileSync(file, "latin1");
  } catch (cause) {
    throw new UserError(`The TLS file ${file} cannot be read (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "TLS_FILE",
      hint,
      cause,
    });
  }
}

/** The error of a failed handshake. */
export function noTlsError(target: ListenAddress): UserError {
  return new UserError(`There is no TLS with ${formatListen(target)}: the handshake failed.`, {
    code: "TLS_FAILED",
    hint: "Does the server have a certificate? Without one, leave out --tls.",
  });
}

/**
 * @returns why nothing may be sent over this socket; null: the handshake is complete, and the server is the right one
 */
export function handshakeError(
  target: ListenAddress,
  tls: ClientTls,
  socket: Bun.Socket<undefined>,
  isGood: boolean,
): UserError | null {
  // Without a cipher there was no handshake: the other end does not speak TLS.
  if (typeof (socket.getCipher() as { name: unknown }).name !== "string") return noTlsError(target);
  const cause = socket.getAuthorizationError();
  if (!tls.rejectUnauthorized || (isGood && socket.authorized)) return null;
  return new UserError(
    `${formatListen(target)} is not trusted: ${cause?.message ?? "its certificate cannot be checked"}.`,
    {
      code: "TLS_UNTRUSTED",
      hint: "Pass --tls-ca FILE with the certificate of its authority, or its own, or --tls-insecure to trust anybody.",
      cause,
    },
  );
}
