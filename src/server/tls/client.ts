/** The client's TLS facts from the handshake, for modules. */
import type { Socket } from "bun";
import type { ClientCertificate, ClientTls } from "../../module/contract";

/** @param socket a TLS socket after its handshake, still open; nothing of it is kept */
export function tlsOf(socket: Socket<unknown>): ClientTls {
  return {
    version: socket.getTLSVersion(),
    alpn: socket.alpnProtocol || null,
    serverName: serverNameOf(socket),
    // Also right for a resumed session: the engine keeps the result with it.
    authorized: socket.authorized,
    peer: peerOf(socket),
  };
}

/** In the form that picked the certificate. */
function serverNameOf(socket: Socket<unknown>): string | null {
  const name: unknown = socket.getServername();
  return typeof name === "string" && name !== "" ? name.toLowerCase().replace(/\.$/, "") : null;
}

/** Joins the values of a repeated name with ", ". */
type Names = Record<string, string | string[]>;

function peerOf(socket: Socket<unknown>): ClientCertificate | null {
  const certificate = socket.getPeerCertificate() as unknown as Record<string, unknown> | undefined;
  if (certificate === undefined || certificate === null || certificate.subject === undefined) return null;
  const text = (name: string) => (typeof certificate[name] === "string" ? certificate[name] : "");
  return {
    subject: flatten(certificate.subject as Names),
    issuer: flatten(certificate.issuer as Names),
    subjectAltName: text("subjectaltname"),
    serialNumber: text("serialNumber"),
    fingerprint: text("fingerprint256"),
    validFrom: text("valid_from"),
    validTo: text("valid_to"),
  };
}

function flatten(names: Names): Record<string, string> {
  return Object.fromEntries(
    Object.entries(names ?? {}).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );
}
