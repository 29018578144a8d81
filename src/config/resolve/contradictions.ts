/** Pairs of keys that must agree. */

interface Contradiction {
  /** The key that needs the other one. */
  path: readonly (string | number)[];
  /** Begins with the key. */
  message: string;
}

/**
 * @param options defaults, file, environment and flags put together; values of a wrong type are skipped
 */
export function findContradictions(options: unknown): Contradiction[] {
  const { tls, control } = (options ?? {}) as { tls?: unknown; control?: unknown };
  return [...tlsContradictions(fieldsOf(tls)), ...listenContradictions(fieldsOf(control), fieldsOf(tls))];
}

function tlsContradictions(tls: Record<string, unknown>): Contradiction[] {
  const found: Contradiction[] = [];
  const say = (name: string, message: string) => found.push({ path: ["tls", name], message });
  const { certFile, keyFile, sni, clientCert, clientCaFile } = tls;
  if (isSet(certFile) && !isSet(keyFile))
    say("certFile", "tls.certFile is set, and tls.keyFile is not. Name both files, or neither");
  if (isSet(keyFile) && !isSet(certFile))
    say("keyFile", "tls.keyFile is set, and tls.certFile is not. Name both files, or neither");
  if (Array.isArray(sni) && sni.length > 0 && !isSet(certFile))
    say("sni", "tls.sni has certificates, and tls.certFile names none for all other clients");
  if ((clientCert === "request" || clientCert === "require") && !isSet(clientCaFile))
    say(
      "clientCert",
      `tls.clientCert is "${clientCert}", and tls.clientCaFile is not set. Name the file of the clients' authorities`,
    );
  return found;
}

function listenContradictions(
  { listen, tokenFile }: Record<string, unknown>,
  { certFile }: Record<string, unknown>,
): Contradiction[] {
  if (typeof listen !== "string") return [];
  const found: Contradiction[] = [];
  const say = (message: string) => found.push({ path: ["control", "listen"], message });
  if (!isSet(tokenFile))
    say("control.listen is set, and control.tokenFile is not. Name the file with the token that clients must have");
  if (listen.startsWith("tls:") && !isSet(certFile))
    say("control.listen is a tls:// URL, and tls.certFile is not set. Name a certificate");
  return found;
}

function isSet(path: unknown): boolean {
  return path !== null && path !== undefined;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
