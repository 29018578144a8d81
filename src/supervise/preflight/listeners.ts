/**
 * Checks whether the listeners could be opened: binds them all, like a start, and closes them. A unix socket is only
 * looked at, since binding it makes a file.
 */
import { existsSync, lstatSync } from "node:fs";
import { dirname } from "node:path";
import { type ListenAddress, parseListen } from "../../config/listen";
import type { Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import { type BoundSocket, bindSockets, canBind, closeSocket, isSocketUsed, mustBeSocket } from "../../system/bind";
import { listenError } from "../../system/listen-error";
import { listenAddresses } from "../../server/listen/listeners";
import type { Findings } from "./findings";
import { mustTakeFiles } from "./files";

/** The server that has this state folder already. */
export interface PresentServer {
  readonly pid: number;
  /** Its URLs; null: not known. */
  readonly listening: readonly string[] | null;
}

/** @param present an address where it listens is no mistake */
export async function checkListeners(
  findings: Findings,
  options: Options,
  present: PresentServer | null,
): Promise<void> {
  const bound: BoundSocket[] = [];
  const paths = new Set<string>();
  const all = options.listen.map(parseListen).filter((address) => address !== null);
  try {
    for (const url of options.listen) {
      await findings.look(`listener ${url}`, async () => {
        const [address] = listenAddresses({ ...options, listen: [url] });
        if (address === undefined) return "";
        try {
          return address.transport === "unix"
            ? await lookAtUnix(address, paths)
            : await tryBinding(address, all, bound);
        } catch (error) {
          if (present !== null && isBusy(error) && isOf(present, address))
            return `in use by the server of this state folder, pid ${present.pid}`;
          throw error;
        }
      });
    }
  } finally {
    bound.forEach(closeSocket);
  }
}

async function tryBinding(
  address: ListenAddress,
  all: readonly ListenAddress[],
  bound: BoundSocket[],
): Promise<string> {
  if (!canBind()) return "was not tried: on this platform a try would accept clients";
  bound.push(...(await bindSockets([address], all)));
  return "can be listened on";
}

async function lookAtUnix(address: Extract<ListenAddress, { path: string }>, seen: Set<string>): Promise<string> {
  const { path } = address;
  const isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  if (isThere) mustBeSocket(path);
  const isTaken = seen.has(path) || (isThere && (await isSocketUsed(path)));
  if (isTaken) throw listenError(address, Object.assign(new Error("in use"), { code: "EADDRINUSE" }));
  seen.add(path);
  try {
    mustTakeFiles(dirname(path));
  } catch (error) {
    throw listenError(address, error);
  }
  return existsSync(path) ? "can be listened on: nobody answers at the socket that is there" : "can be listened on";
}

function isBusy(error: unknown): boolean {
  return error instanceof UserError && (error.cause as { code?: string } | undefined)?.code === "EADDRINUSE";
}

/** A server that listens on all addresses has each of them. */
function isOf({ listening }: PresentServer, wanted: ListenAddress): boolean {
  if (listening === null) return true;
  return listening.map(parseListen).some((address) => {
    if (address === null) return false;
    if (address.transport === "unix" || wanted.transport === "unix")
      return (
        address.transport === wanted.transport && "path" in address && "path" in wanted && address.path === wanted.path
      );
    return (address.transport === "udp") === (wanted.transport === "udp") && address.port === wanted.port;
  });
}
