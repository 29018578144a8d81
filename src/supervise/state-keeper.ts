/**
 * Makes deleted files of the state folder again: a user may delete the folder under a running server.
 */
import { messageOf } from "../config/user-error";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Options } from "../config/options";
import type { ControlServer } from "../control/server";
import type { ServerLog } from "../observe/log/log";
import { type Folders, STATE_README } from "../server/folders";
import { isUnpacked, unpackModules, unpackPages } from "../server/shipped";
import { makePrivateFolder, PRIVATE_FILE } from "../system/private-files";
import type { Holdings } from "./takeover/holdings";

/** Time between two checks. In milliseconds. */
const LOOK_MS = 500;

const README = `hrmr keeps files here that it can make again: bundles and versions of modules, shipped modules, its log in the background,
the lock and the control socket. The folder may be deleted, under a running server too: nothing is lost but the version history
(\`hrmr versions\`, \`hrmr rollback\`) and that log.

What must be kept is in the data folder: \`data\` beside the modules folder, unless \`dataDir\` or --data names another.
`;

/** The server's parts that have files in the state folder. */
interface KeptState {
  readonly folders: Folders;
  readonly options: Pick<Options, "modules">;
  readonly holdings: Holdings;
  readonly log: Pick<ServerLog, "warn" | "error">;
  control(): ControlServer | null;
  /** Opens the control socket again. */
  openControl(): Promise<void>;
  /** Writes the serving versions down, and opens the log files again. */
  renewed(): Promise<void>;
}

/** Writes the file that explains the folder. */
export function writeStateReadme(stateDir: string): void {
  const path = join(stateDir, STATE_README);
  if (!existsSync(path)) writeFileSync(path, README, { mode: PRIVATE_FILE });
}

export class StateKeeper {
  readonly #state: KeptState;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  /** The last logged line, so that it is not repeated. */
  #told = "";

  constructor(state: KeptState) {
    this.#state = state;
  }

  /** Checks every LOOK_MS, until `close`. */
  begin(): void {
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS).unref();
  }

  /** Makes missing files again. Never rejects: a failure is logged once, and the next check tries again. */
  look(): Promise<void> {
    if (this.#isWhole()) return Promise.resolve();
    return (this.#looking ??= this.#restore().finally(() => (this.#looking = null)));
  }

  /** Stops the checks until `begin`. Resolves after a running check. Never rejects. */
  async pause(): Promise<void> {
    this.close();
    await this.#looking;
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #isWhole(): boolean {
    const { folders, holdings, control, options } = this.#state;
    const { stateDir, staticDir } = folders;
    return (
      holdings.areLocksInPlace() &&
      control()?.isInPlace() !== false &&
      isUnpacked(stateDir, options.modules, staticDir === null)
    );
  }

  async #restore(): Promise<void> {
    const { folders, options, holdings, log } = this.#state;
    const { stateDir } = folders;
    // The whole project was deleted: a new state folder there would only be in the way.
    if (!existsSync(dirname(stateDir)) && !existsSync(folders.modulesDir))
      return this.#tell(
        `${dirname(stateDir)} was deleted, and the state folder with it: there is no control socket any more. Stop this server with \`kill ${process.pid}\`.`,
      );
    const wasDeleted = !existsSync(stateDir);
    try {
      makePrivateFolder(stateDir);
      holdings.renewLocks();
      writeStateReadme(stateDir);
      await unpackModules(stateDir, options.modules);
      if (folders.staticDir === null) await unpackPages(stateDir);
      if (this.#state.control()?.isInPlace() === false) await this.#state.openControl();
      await this.#state.renewed();
    } catch (error) {
      return this.#tell(`Deleted files of the state folder ${stateDir} could not be made again: ${messageOf(error)}`);
    }
    this.#told = "";
    log.warn(
      wasDeleted
        ? `The state folder ${stateDir} was deleted and is made again, with lock and control socket. The stored versions are gone.`
        : `Files were deleted from the state folder ${stateDir} and are made again.`,
    );
  }

  #tell(text: string): void {
    if (this.#told === text || this.#timer === null) return;
    this.#told = text;
    this.#state.log.error(text);
  }
}
