/**
 * `--watch`: reloads after a change of a file that the modules are built from, once no more changes come.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { ENV_FILE } from "../config/working-folder";
import { TYPES_FILE } from "../module/build/service-types";
import { leadsTo, linksOn } from "../module/build/links";

/**
 * Quiet time before a reload. One save of an editor makes several events within a few milliseconds. In milliseconds.
 */
const QUIET_MS = 50;
/** The longest wait for quiet: a log in a folder may change it all the time. In milliseconds. */
const MAX_WAIT_MS = 1000;
/** Time between checks for replaced folders: the kernel watches a folder, and not its name. In milliseconds. */
const LOOK_MS = 1000;

interface WatchOwner {
  /** The modules folder, by the name that the user gave. It need not exist. */
  readonly modulesDir: string;
  /**
   * Other files that the modules are built from: names in a folder, by its absolute path. Called again after each
   * reload.
   */
  inputs(): Readonly<Record<string, readonly string[]>>;
  /** The config file, or all paths where one would be found. Absolute. */
  configFiles(): readonly string[];
  modulesChanged(): void;
  configChanged(): void;
  /** Called if a folder cannot be watched: once for each folder and reason. */
  failed(folder: string, error: Error): void;
}

/** Names that matter in a folder; null: all names in it and in its folders. */
interface Wanted {
  readonly names: Set<string> | null;
  readonly isConfig: Set<string>;
}

interface Watched {
  /** Identifies the watched folder, since another one may get its name. */
  readonly identity: string;
  readonly watcher: FSWatcher;
  wanted: Wanted;
}

/** Watches folders, and no single file: a watch on a file ends with the first save by rename. */
export class Watch {
  readonly #owner: WatchOwner;
  readonly #watched = new Map<string, Watched>();
  readonly #told = new Set<string>();
  readonly #looks: ReturnType<typeof setInterval>;
  #quiet: ReturnType<typeof setTimeout> | null = null;
  #firstAtMs = 0;
  #isConfigDue = false;

  constructor(owner: WatchOwner) {
    this.#owner = owner;
    this.#follow();
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
  }

  /** Call it after a reload: watches newly imported files, and checks once for changes since they were read. */
  reloaded(): void {
    this.#look();
  }

  /** Call it at the start: checks once for files that were saved after the modules were read. */
  begun(): void {
    this.#touched(false);
  }

  close(): void {
    clearInterval(this.#looks);
    if (this.#quiet !== null) clearTimeout(this.#quiet);
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #look(): void {
    if (this.#follow()) this.#touched(false);
  }

  /** @returns whether a new or replaced folder is watched now */
  #follow(): boolean {
    const wanted = this.#wanted();
    for (const [folder, { watcher }] of this.#watched) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watched.delete(folder);
    }
    let isNew = false;
    for (const [folder, each] of wanted) isNew = this.#watch(folder, each) || isNew;
    return isNew;
  }

  #wanted(): Map<string, Wanted> {
    const { modulesDir, inputs, configFiles } = this.#owner;
    const wanted = new Map<string, Wanted>();
    const add = (folder: string, name: string, isConfig = false): void => {
      const each = wanted.get(folder) ?? { names: new Set(), isConfig: new Set() };
      wanted.set(folder, each);
      each.names?.add(name);
      if (isConfig) each.isConfig.add(name);
    };
    const real = leadsTo(modulesDir) || modulesDir;
    wanted.set(real, { names: null, isConfig: new Set() });
    add(dirname(modulesDir), basename(modulesDir));
    for (const { path } of linksOn(modulesDir)) add(dirname(path), basename(path));
    for (const [folder, names] of Object.entries(inputs())) {
      if (folder !== real && !folder.startsWith(real + sep)) for (const name of names) add(folder, name);
    }
    for (const file of configFiles()) add(dirname(file), basename(file), true);
    return wanted;
  }

  #watch(folder: string, wanted: Wanted): boolean {
    const identity = identityOf(folder);
    const before = this.#watched.get(folder);
    if (before !== undefined) {
      before.wanted = wanted;
      if (before.identity === identity) return false;
      before.watcher.close();
      this.#watched.delete(folder);
    }
    // The folder does not exist: the watch on its parent reports when it comes.
    if (identity === "") return before !== undefined;
    try {
      const watcher = watch(folder, { recursive: wanted.names === null }, (_, name) => this.#heard(folder, name));
      watcher.on("error", (error) => this.#failed(folder, error));
      this.#watched.set(folder, { identity, watcher, wanted });
      return true;
    } catch (error) {
      this.#failed(folder, error as Error);
      return false;
    }
  }

  #failed(folder: string, error: Error): void {
    const key = `${folder}: ${error.message}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#owner.failed(folder, error);
  }

  /** @param name null, or undefined against its type: an event of the folder itself, such as a move */
  #heard(folder: string, name: string | null | undefined): void {
    const wanted = this.#watched.get(folder)?.wanted;
    if (wanted === undefined) return;
    if (typeof name !== "string") return this.#touched(false);
    if (wanted.names === null ? isIgnored(name) : !wanted.names.has(name)) return;
    this.#touched(wanted.isConfig.has(name));
  }

  #touched(isConfig: boolean): void {
    // A reload of the configuration looks at all modules, too.
    this.#isConfigDue ||= isConfig;
    const now = performance.now();
    if (this.#quiet === null) this.#firstAtMs = now;
    else clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#fire(), now - this.#firstAtMs > MAX_WAIT_MS ? 0 : QUIET_MS);
  }

  #fire(): void {
    this.#quiet = null;
    const { modulesChanged, configChanged } = this.#owner;
    const change = this.#isConfigDue ? configChanged : modulesChanged;
    this.#isConfigDue = false;
    this.#follow();
    change();
  }
}

/** @returns "" if there is no such folder */
function identityOf(folder: string): string {
  const info = statSync(folder, { throwIfNoEntry: false });
  return info?.isDirectory() === true ? `${info.dev}:${info.ino}` : "";
}

/** Whether it is a file of an editor or a package manager. */
function isIgnored(path: string): boolean {
  const parts = path.split(sep);
  const name = parts.at(-1) ?? "";
  return (
    parts.includes(".hrmr") ||
    parts.includes("node_modules") ||
    parts.includes(".git") ||
    name === TYPES_FILE ||
    name.endsWith("~") ||
    name.endsWith(".swp")
  );
}

/** The config file that was read, or all names that a config file may have; and .env beside it. */
export function watchedConfigFiles(file: string | null, folder: string, names: readonly string[]): string[] {
  const project = file === null ? folder : dirname(file);
  return [...(file === null ? names.map((name) => join(folder, name)) : [file]), join(project, ENV_FILE)];
}
