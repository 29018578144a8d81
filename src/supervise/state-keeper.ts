/**
 * Keeps what a server needs in its state folder: the folder can be deleted under a running server, and what it holds is made anew.
 */
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Options } from "../config/options";
import type { ControlServer } from "../control/server";
import type { ServerLog } from "../observe/log";
import { type Folders, STATE_README } from "../server/folders";
import { isUnpacked, unpackModules, unpackPages } from "../server/shipped";
import { makePrivateFolder, PRIVATE_FILE } from "../system/private-files";
import type { Holdings } from "./holdings";

/** How soon a folder that was deleted is there again. In milliseconds. */
const LOOK_MS = 500;

const README = `hrmr keeps here what it can make anew: bundles and versions of modules, the modules that ship with it, its log in the background,
the lock and the control socket. The folder may be deleted, under a running server too: nothing is lost but the version history
(\`hrmr versions\`, \`hrmr rollback\`) and that log.

What must be kept is in the data folder: \`data\` beside the modules folder, unless \`dataDir\` or --data names another.
`;

/** What the server has in the state folder. */
export interface KeptState {
  readonly folders: Folders;
  readonly options: Pick<Options, "modules">;
  readonly holdings: Holdings;
  readonly log: Pick<ServerLog, "warn" | "error">;
  control(): ControlServer | null;
  /** Opens the control socket anew. */
  openControl(): Promise<void>;
  /** Writes down what serves, and opens the log files anew. */
  renewed(): Promise<void>;
}

/** Says what the folder is. */
export function writeStateReadme(stateDir: string): void {
  const path = join(stateDir, STATE_README);
  if (!existsSync(path)) writeFileSync(path, README, { mode: PRIVATE_FILE });
}

export class StateKeeper {
  readonly #state: KeptState;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  /** What was told last, so that it is told once. */
  #told = "";

  constructor(state: KeptState) {
    this.#state = state;
  }

  /** Looks now and then, until `close`. */
  begin(): void {
    this.#timer = setInterval(() => void this.look(), LOOK_MS).unref();
  }

  /** Makes anew what is gone. Never rejects: what fails is logged, once, and tried again at the next look. */
  look(): Promise<void> {
    if (this.#isWhole()) return Promise.resolve();
    return (this.#looking ??= this.#restore().finally(() => (this.#looking = null)));
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #isWhole(): boolean {
    const { folders, holdings, control, options } = this.#state;
    const { stateDir, staticDir } = folders;
    return holdings.areLocksInPlace() && control()?.isInPlace() !== false && isUnpacked(stateDir, options.modules, staticDir === null);
  }

  async #restore(): Promise<void> {
    const { folders, options, holdings, log } = this.#state;
    const { stateDir } = folders;
    // With the whole project gone there is nothing to go on with, and a folder that comes back would only be in the way.
    if (!existsSync(dirname(stateDir)))
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
      return this.#tell(
        `What is gone from the state folder ${stateDir} could not be made anew: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    this.#told = "";
    log.warn(
      wasDeleted
        ? `The state folder ${stateDir} was deleted: it is made anew, with lock and control socket. The versions to go back to are gone.`
        : `Files were deleted from the state folder ${stateDir}: they are made anew.`,
    );
  }

  #tell(text: string): void {
    if (this.#told === text || this.#timer === null) return;
    this.#told = text;
    this.#state.log.error(text);
  }
}
