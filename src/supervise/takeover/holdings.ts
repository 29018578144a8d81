/**
 * The master's locks on its state folder and its pid file, and its listening sockets. It releases them at the end, or
 * hands them over to a successor.
 */
import { existsSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { formatListen, type ListenAddress } from "../../config/listen";
import { defaultOptions, type Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import { type BoundSocket, bindSockets, canBind, setMode, stopArrivals } from "../../system/bind";
import { emptyMadeFolder, type Folders, removeMadeFolder } from "../../server/folders";
import { listenAddresses } from "../../server/listen/listeners";
import {
  describeListeners,
  type InheritedListener,
  inheritedListeners,
  matchDescriptors,
  type PlannedListener,
  TLS_NAME,
} from "./activation";
import { adoptLock, type FileLock, type HeldLock, lockFile, type LockKind, lockText, pidText } from "./lock";
import { closeUnused, type Estate, type HeldSocket, takeSocket } from "./takeover";

interface WantedLock {
  readonly path: string;
  readonly text: string;
  readonly kind: LockKind;
  /** Makes the error for a lock that another process has. */
  readonly refused: (held: Pick<HeldLock, "holder"> & Partial<HeldLock>) => UserError;
}

export class Holdings {
  /** null: this platform cannot bind without listening. */
  readonly sockets: readonly HeldSocket[] | null;
  readonly #folders: Folders;
  readonly #locks: FileLock[];
  readonly #wanted: readonly WantedLock[];
  readonly #isSuccessor: boolean;
  /** Locks that the old process has until this one serves. */
  readonly #promised: { path: string; fd: number; text: string }[];

  private constructor(
    sockets: readonly HeldSocket[] | null,
    folders: Folders,
    locks: FileLock[],
    promised: { path: string; fd: number; text: string }[],
    isSuccessor: boolean,
    wanted: readonly WantedLock[],
  ) {
    this.#wanted = wanted;
    this.sockets = sockets;
    this.#folders = folders;
    this.#locks = locks;
    this.#promised = promised;
    this.#isSuccessor = isSuccessor;
  }

  /**
   * Locks and binds, or uses the locks and sockets in `estate`.
   *
   * @throws UserError for a lock that another server holds, or an address that cannot be opened; nothing is held then
   */
  static async take(options: Options, folders: Folders, estate: Estate | null): Promise<Holdings> {
    const locks: FileLock[] = [];
    const promised: { path: string; fd: number; text: string }[] = [];
    const all = wantedLocks(options, folders);
    try {
      for (const wanted of all) {
        const held = estate?.locks.find(({ path }) => path === wanted.path);
        if (held !== undefined) promised.push({ ...held, text: wanted.text });
        else locks.push(lock(wanted));
      }
      return new Holdings(
        canBind() ? await openSockets(options, estate) : null,
        folders,
        locks,
        promised,
        estate !== null,
        all,
      );
    } catch (error) {
      for (const held of locks) held.release();
      removeMadeFolder(folders);
      throw error;
    }
  }

  /** This process serves now, and takes the promised locks. */
  takeLocks(): void {
    for (const { path, fd, text } of this.#promised) this.#locks.push(adoptLock(fd, path, text));
    this.#promised.length = 0;
  }

  /** For a successor. @param failing modules that do not serve */
  estate(failing: readonly string[]): Estate {
    return { failing, locks: this.#locks.map(({ path, fd }) => ({ path, fd })), sockets: this.sockets ?? [] };
  }

  /** The successor is gone: writes this process's id into the files again. */
  reclaim(): void {
    for (const held of this.#locks) held.rewrite(held.path.endsWith(LOCK_FILE) ? lockText() : pidText());
  }

  /** Whether the lock files are still in their places. */
  areLocksInPlace(): boolean {
    return this.#locks.every((held) => held.isInPlace());
  }

  /**
   * Makes and locks deleted lock files again. @throws UserError if another server has the lock now, or the folder is
   * gone
   */
  renewLocks(): void {
    for (const [at, held] of this.#locks.entries()) {
      if (held.isInPlace()) continue;
      const wanted = this.#wanted.find(({ path }) => path === held.path);
      if (wanted !== undefined) this.#locks[at] = lock(wanted);
      // Close only the descriptor: the file at the path belongs to the new lock.
      held.release();
    }
  }

  /**
   * Closes the sockets: clients must not find a server that is about to end. Systemd's sockets stay open, since it
   * starts another server.
   */
  closeDoors(): void {
    for (const socket of this.sockets ?? []) {
      const { address, isForeign } = socket;
      if (!isForeign) stopArrivals(socket);
      if (address.transport === "unix" && !isForeign && existsSync(address.path)) unlinkSync(address.path);
    }
  }

  /** At the end: removes the files, unless a successor has taken them. */
  release(): void {
    for (const held of this.#locks) held.release();
  }

  /** The start has failed. */
  abandon(): void {
    // The old server keeps its listeners.
    if (!this.#isSuccessor) this.closeDoors();
    emptyMadeFolder(this.#folders);
    this.release();
    removeMadeFolder(this.#folders);
  }
}

const LOCK_FILE = "lock";

/** The files that a server with these options locks. Does not make them. */
export function wantedLocks(
  { pidFile }: Options,
  { stateDir }: Pick<Folders, "stateDir">,
): [state: WantedLock, ...pidFile: WantedLock[]] {
  const state: WantedLock = {
    path: join(stateDir, LOCK_FILE),
    text: lockText(),
    kind: "private",
    refused: ({ holder, endedPid = null }) =>
      endedPid === null ? stateLocked(stateDir, holder) : stateHeld(stateDir, endedPid),
  };
  if (pidFile === null) return [state];
  const pid: WantedLock = {
    path: pidFile,
    text: pidText(),
    kind: "public",
    refused: ({ holder }) =>
      new UserError(`Cannot start: a server (${holder}) holds the pid file ${pidFile} already.`, {
        code: "PID_FILE_LOCKED",
        hint: "Stop it first, or name another file with --pid-file.",
      }),
  };
  return [state, pid];
}

function stateLocked(stateDir: string, holder: string): UserError {
  return new UserError(`Cannot start: a server (${holder}) runs with the state folder ${stateDir} already.`, {
    code: "STATE_LOCKED",
    hint: "Stop it with `hrmr stop`, or keep this one's state elsewhere with --state DIR.",
  });
}

/** A server in another container holds it, or another user's program that could open the file earlier. */
function stateHeld(stateDir: string, endedPid: number): UserError {
  const path = join(stateDir, LOCK_FILE);
  return new UserError(
    `Cannot start: the lock of the state folder ${stateDir} is held, and its pid ${endedPid} does not run here.`,
    {
      code: "STATE_LOCKED",
      hint: `\`fuser ${path}\` names the process that holds it. If it is no hrmr server, remove ${path} and start again.`,
    },
  );
}

function lock({ path, text, kind, refused }: WantedLock): FileLock {
  const held = lockFile(path, text, kind);
  if ("holder" in held) throw refused(held);
  return held;
}

/** The sockets of systemd, of a predecessor, and the other configured ones. */
async function openSockets(options: Options, estate: Estate | null): Promise<HeldSocket[]> {
  const left = estate?.sockets ?? [];
  // A successor gets the sockets that systemd handed to the first process. It serves them even if they are not
  // configured.
  const activated = describeListeners(estate === null ? inheritedListeners(process.env, process.pid) : foreignOf(left));
  const isDefault = activated.length > 0 && Bun.deepEquals(options.listen, defaultOptions().listen);
  const planned = matchDescriptors(isDefault ? [] : options.listen, activated);
  const wanted = planned.map((listener) => {
    const address = addressOf(listener, options);
    return { address, fd: listener.fd, asked: formatListen(address) };
  });
  const own = left.filter(({ isForeign }) => !isForeign);
  const found = wanted.map(({ address, fd, asked }): HeldSocket | null =>
    fd === null ? takeOwn(own, address, asked) : { address, fd, asked, isForeign: true },
  );
  closeUnused(own);
  const addresses = wanted.map(({ address }) => address);
  const bound = await bindSockets(
    addresses.filter((_, at) => found[at] === null),
    addresses,
  );
  return wanted.map(({ asked }, at) => found[at] ?? { ...(bound.shift() as BoundSocket), asked, isForeign: false });
}

/** The mode of a unix socket is not part of its identity. */
function takeOwn(own: HeldSocket[], address: ListenAddress, asked: string): HeldSocket | null {
  if (address.transport !== "unix") return takeSocket(own, asked);
  const before = own.find((socket) => socket.address.transport === "unix" && socket.address.path === address.path);
  const taken = before === undefined ? null : takeSocket(own, before.asked);
  if (taken === null) return null;
  if (existsSync(address.path)) setMode(address);
  return { ...taken, address, asked };
}

/** The sockets that systemd opened, with their names. */
function foreignOf(sockets: readonly HeldSocket[]): InheritedListener[] {
  return sockets
    .filter(({ isForeign }) => isForeign)
    .map(({ fd, asked }) => ({ fd, name: asked.startsWith("tls:") ? TLS_NAME : "" }));
}

/** @throws UserError for an invalid URL, and for a tls:// listener without a certificate */
function addressOf({ url, address, fd }: PlannedListener, options: Options): ListenAddress {
  // An abstract unix socket can be inherited, but no URL configures one.
  if (fd !== null && address?.transport === "unix") return address;
  return listenAddresses({ ...options, listen: [url] })[0] as ListenAddress;
}
