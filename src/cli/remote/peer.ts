/** The listener of a server that `hrmr send` and `hrmr call` talk to: a named one, or that of this folder's server. */
import { resolve } from "node:path";
import { type ListenAddress, parseHostPort, parseListen } from "../../config/listen";
import { quoted } from "../../config/quoted";
import type { EffectiveConfig } from "../../config/resolve/resolved";
import { UserError } from "../../config/user-error";
import { controlRequest, type ControlTarget } from "../../control/client";
import type { ServerStatus } from "../../observe/snapshot";
import { badValue } from "../flags";
import { CONTROL_ARGS, type ControlFlags, findServer } from "./control-target";
import { type ClientTls, readAuthorities, readTlsFlags, type TlsFlags } from "./send-tls";

const { control, config, modules, state } = CONTROL_ARGS;
/** Flags that say which server belongs to this folder. */
export const PROJECT_ARGS = { control, config, modules, state };

/** The server to send to, and how. */
export interface Peer {
  readonly target: ListenAddress;
  /** null: plain text. */
  readonly tls: ClientTls | null;
}

/** @throws UserError BAD_VALUE for an address that is none */
export function peerAt(address: string, flags: TlsFlags): Peer {
  const target = parseTarget(address);
  return { target, tls: readTlsFlags(flags, target.transport === "tls") };
}

/**
 * The server of this folder: its first listener that fits the flags, TCP before a unix socket, plain text before TLS.
 * For TLS, it trusts the server's own certificate, whose file the control socket names.
 *
 * @throws UserError NO_SERVER and the other codes of `findServer`; NO_LISTENER if no listener fits
 */
export async function findPeer(flags: TlsFlags & ControlFlags): Promise<Peer> {
  const control = await findServer({
    control: flags.control,
    config: flags.config,
    modules: flags.modules,
    state: flags.state,
  });
  const { body } = await controlRequest<ServerStatus>(control, "GET", "/v1/status");
  const addresses = body.listening.map(parseListen).filter((address) => address !== null);
  const wanted = ["tcp", "unix", "tls"].flatMap((transport) =>
    addresses.filter((address) => address.transport === transport),
  );
  const target = wanted[0];
  if (target === undefined) {
    const message = `The server of this folder has no listener that takes text: it listens on ${body.listening.join(", ") || "nothing"}.`;
    throw new UserError(message, { code: "NO_LISTENER", hint: "Name a listener: HOST:PORT." });
  }
  const tls = readTlsFlags(flags, target.transport === "tls");
  const isOwnTrusted = tls !== null && tls.ca === undefined && tls.rejectUnauthorized;
  return { target: nearAddress(target), tls: isOwnTrusted ? { ...tls, ca: await ownCertificate(control) } : tls };
}

/** A loopback address for a listener on all addresses. */
function nearAddress(address: ListenAddress): ListenAddress {
  if (address.transport === "unix") return address;
  const host = { "0.0.0.0": "127.0.0.1", "::": "::1" }[address.host] ?? address.host;
  return { ...address, host };
}

async function ownCertificate(control: ControlTarget): Promise<string> {
  const { body } = await controlRequest<EffectiveConfig>(control, "GET", "/v1/config");
  const file = body.values["tls.certFile"]?.value;
  if (typeof file === "string") return readAuthorities(file);
  throw new UserError("The server of this folder has no certificate.", {
    code: "TLS_FAILED",
    hint: "Leave out --tls.",
  });
}

function parseTarget(text: string): ListenAddress {
  const hostAndPort = parseHostPort(text);
  const path = /^unix:(?!\/\/)(.+)$/.exec(text)?.[1];
  if (path !== undefined) return { transport: "unix", path: resolve(path) };
  const target: ListenAddress | null = hostAndPort === null ? parseListen(text) : { transport: "tcp", ...hostAndPort };
  if (target === null || target.transport === "udp") {
    const hint = "Write HOST:PORT, [IPv6]:PORT, tls://HOST:PORT or unix:PATH.";
    throw badValue(`hrmr cannot reach ${quoted(text)}.`, hint);
  }
  return target;
}
