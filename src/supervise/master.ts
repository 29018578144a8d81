/**
 * The process in charge: it opens the listeners, serves or has others serve, and is who signals, the control socket and systemd
 * talk to.
 */
import type { ResolvedConfig } from "../config/resolved";
import { UserError } from "../config/user-error";
import type { ReloadReport } from "../control/operations";
import type { ServerLog } from "../observe/log";
import { bindSockets, canBind } from "../server/bind";
import { findFolders } from "../server/folders";
import { listenAddresses } from "../server/listeners";
import { refusedReport } from "../server/reload-outcome";
import { Alone } from "./alone";
import type { Group, StartSummary } from "./group";

export interface MasterSetup {
  /** Reads the configuration; at each reload again. */
  resolve(): Promise<ResolvedConfig>;
  readonly log: ServerLog;
  /** Told once it serves. */
  ready(summary: StartSummary, readyMs: number): void;
}

/** 128 and the signal's number, as a shell tells it. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Starts the server and stays until it has stopped.
 *
 * @returns the exit code
 * @throws UserError for what the user can mend; nothing is left open then
 */
export async function runMaster(setup: MasterSetup): Promise<number> {
  const master = new Master(setup);
  await master.start();
  return await master.ended;
}

class Master {
  readonly ended: Promise<number>;
  readonly #setup: MasterSetup;
  readonly #log: ServerLog;
  readonly #ended = Promise.withResolvers<number>();
  #group: Group | null = null;
  #isStopping = false;

  constructor(setup: MasterSetup) {
    this.#setup = setup;
    this.#log = setup.log;
    this.ended = this.#ended.promise;
  }

  async start(): Promise<void> {
    const startedAt = performance.now();
    this.#handleSignals();
    const config = await this.#setup.resolve();
    const { options } = config;
    const addresses = listenAddresses(options);
    const folders = findFolders(options);
    const sockets = canBind() ? await bindSockets(addresses) : null;
    this.#group = new Alone({
      options,
      folders,
      log: this.#log,
      sockets,
      slot: 0,
      uplink: { reload: (names) => this.reload(names), stop: (reason) => this.stop(reason), publish: () => {} },
    });
    const summary = await this.#group.start();
    this.#setup.ready(summary, performance.now() - startedAt);
  }

  // ---- Operations ----

  /** @param source begins the log line */
  async reload(names: readonly string[] | null, source = ""): Promise<ReloadReport> {
    const group = this.#group;
    if (group === null) return refusedReport("The server is starting.", "Try again.");
    const report = await this.#reloadGroup(group, names);
    const text = source === "" ? report.text : `${source}: ${report.text}`;
    if (report.ok) this.#log.info(text);
    else this.#log.error(text);
    return report;
  }

  async #reloadGroup(group: Group, names: readonly string[] | null): Promise<ReloadReport> {
    try {
      return await group.reload(names, null);
    } catch (error) {
      if (error instanceof UserError) return refusedReport(error.message, error.hint ?? "");
      throw error;
    }
  }

  stop(reason: string): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#log.info(`${reason}: finishing what is under way; a second one ends at once`);
    void this.#drain(reason);
  }

  async #drain(reason: string): Promise<void> {
    await this.#group?.drain(reason);
    this.#ended.resolve(0);
  }

  // ---- signals ----

  /** The first SIGTERM or SIGINT drains, the second ends at once; so does the first before the server is up. SIGHUP reloads. */
  #handleSignals(): void {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (this.#isStopping || this.#group === null) process.exit(EXIT_CODES[signal]);
        this.stop(signal);
      });
    }
    process.on("SIGHUP", () => void this.reload(null, "SIGHUP"));
  }
}
