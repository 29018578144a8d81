/** Finds a server's folders, from its options and from the existing folders. */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Options } from "../config/options";
import { UserError } from "../config/user-error";
import { workingFolder } from "../config/working-folder";
import { SHIPPED_FOLDER } from "../module/build/prebuilt";
import { syncFolder } from "../system/files/durable";
import { closeToOthers, isMine, isOpenToOthers, makePrivateFolder, PRIVATE_FOLDER } from "../system/private-files";

/** A file in the state folder that explains the folder. */
export const STATE_README = "README";

export interface Folders {
  modulesDir: string;
  /** False: it is the default folder, and does not exist. */
  hasModulesDir: boolean;
  stateDir: string;
  /** The folder of modules' data. It is made when a module first uses its own folder in it. */
  dataDir: string;
  /** null: serve the embedded pages. */
  staticDir: string | null;
  /** For the person who started the server. */
  notes: string[];
  /** The outermost folder that was made for the state. Default: none, it existed. */
  madeDir?: string;
}

/**
 * Finds the folders, and makes the state folder.
 *
 * @throws UserError for a named folder that is missing, unreadable or no folder, and for a state folder that cannot be
 *   written
 */
export function findFolders(options: Options, env: Environment = process.env): Folders {
  const notes: string[] = [];
  const found = { ...findModules(options, notes), staticDir: findStatic(options) };
  let madeDir: string | undefined;
  const stateDir = findState(options, notes, (dir) => {
    madeDir = makePrivateFolder(dir) ?? madeDir;
    accessSync(dir, constants.W_OK | constants.X_OK);
  });
  if (madeDir !== undefined) syncMade(stateDir, madeDir);
  closeFolder(stateDir, OWN_ENTRIES, notes);
  const dataDir = findData(options, stateDir, notes, env);
  if (existsSync(dataDir)) closeFolder(dataDir, null, notes);
  return { ...found, stateDir, dataDir, notes, ...(madeDir === undefined ? null : { madeDir }) };
}

/** Syncs the names of new folders: without them, a power cut would lose all files inside. */
function syncMade(dir: string, outermost: string): void {
  for (let made = dir; made.length >= outermost.length; made = dirname(made)) syncFolder(dirname(made));
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Entries that a server writes again whenever it needs them. */
const REPLACEABLE = ["bundles", SHIPPED_FOLDER, "static_html", STATE_README];

/**
 * After a failed start, with the state folder's lock still held: removes the server's files from a folder that was made
 * for it, and keeps those of modules.
 */
export function emptyMadeFolder({ stateDir, madeDir }: Folders): void {
  if (madeDir === undefined) return;
  for (const name of REPLACEABLE) rmSync(join(stateDir, name), { recursive: true, force: true });
}

/**
 * The same once the lock is released: removes the made folders if they are empty. Another server may use them by now.
 */
export function removeMadeFolder({ stateDir, madeDir }: Folders): void {
  if (madeDir === undefined) return;
  try {
    for (let dir = stateDir; dir.length >= madeDir.length; dir = dirname(dir)) rmdirSync(dir);
  } catch {
    // The folder holds a file of somebody else, and stays.
  }
}

/** The folder around the modules folder. Folders that are not named lie there too. */
function baseOf({ modulesDir }: Options): string {
  return modulesDir === null ? workingFolder() : dirname(resolve(modulesDir));
}

/** The real path: the state stays there if a link on the path is switched later. */
function stateBaseOf(options: Options): string {
  const base = baseOf(options);
  return base === workingFolder() ? process.cwd() : base;
}

/** @throws UserError for a named folder that is missing, unreadable or no folder */
export function findModules(options: Options, notes: string[]): Pick<Folders, "modulesDir" | "hasModulesDir"> {
  const modulesDir = resolve(workingFolder(), options.modulesDir ?? "modules");
  return { modulesDir, hasModulesDir: hasModules(modulesDir, options.modulesDir !== null, notes) };
}

function hasModules(dir: string, isNamed: boolean, notes: string[]): boolean {
  if (!isNamed && !existsSync(dir)) {
    notes.push(
      "There is no modules folder here, so this serves the page that comes with hrmr.",
      "`hrmr init hub` makes a project to go on with.",
    );
    return false;
  }
  mustBeFolder(dir, "modules", "Name an existing one with --modules DIR, or make a project with `hrmr init DIR`.");
  return true;
}

/** @throws UserError for a folder that was named and holds no module */
export function mustHaveModules(options: Options, count: number): void {
  if (options.modulesDir === null || count > 0) return;
  throw new UserError(`The modules folder ${resolve(options.modulesDir)} is empty: it holds no module.`, {
    code: "MODULES_EMPTY",
    hint: "Add a module with `hrmr new NAME`, or make a project with `hrmr init DIR`.",
  });
}

/** @returns null: the embedded pages @throws UserError for a named folder that is missing, unreadable or no folder */
export function findStatic(options: Options): string | null {
  const { staticDir } = options;
  if (staticDir !== null) {
    mustBeFolder(resolve(staticDir), "static", "Name an existing one with --static DIR.");
    return resolve(staticDir);
  }
  const dir = join(baseOf(options), "static_html");
  return existsSync(dir) ? dir : null;
}

function mustBeFolder(dir: string, what: string, hint: string): void {
  const stat = statOf(dir, (cause) => {
    throw new UserError(`The ${what} folder ${dir} cannot be checked (${cause.code ?? cause.message}).`, {
      code: "FOLDER_UNREADABLE",
      hint,
      cause,
    });
  });
  if (stat === undefined)
    throw new UserError(`The ${what} folder ${dir} does not exist.`, { code: "FOLDER_MISSING", hint });
  if (!stat.isDirectory())
    throw new UserError(`The ${what} folder ${dir} is not a folder.`, { code: "FOLDER_WRONG", hint });
  try {
    accessSync(dir, constants.R_OK | constants.X_OK);
  } catch (cause) {
    throw new UserError(`The ${what} folder ${dir} cannot be read: permission denied.`, {
      code: "FOLDER_UNREADABLE",
      hint: "Give this user the right to read it, or name another.",
      cause,
    });
  }
}

/**
 * `.hrmr` beside the modules; if that cannot be written and none was named, this user's folder in the temporary folder.
 *
 * @param make makes the folder writable, or throws
 * @throws UserError STATE_UNWRITABLE or STATE_FOREIGN
 */
export function findState(options: Options, notes: string[], make: (dir: string) => void): string {
  const base = stateBaseOf(options);
  const dir = resolve(options.stateDir ?? join(base, ".hrmr"));
  mustNotBeShared(dir);
  try {
    make(dir);
    return dir;
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    if (Object.hasOwn(UNWRITABLE, code)) throw unwritableState(dir, code, cause);
    if (options.stateDir !== null) throw unwritable("STATE_UNWRITABLE", "state", dir, cause);
  }
  const fallback = fallbackStateDir(base);
  mustBeOwn(fallback);
  make(fallback);
  mustBeOwn(fallback);
  notes.push(`${dir} cannot be written, so state is kept in ${fallback} (--state DIR names another).`);
  return fallback;
}

/**
 * Finds the folder of modules' data: the named one, else that of the systemd unit, else `data` beside the modules.
 * Makes no folder.
 *
 * @param env  STATE_DIRECTORY: the first of several folders, which are separated by colons
 * @throws UserError DATA_UNWRITABLE if a named folder cannot be made or written
 */
export function findData(options: Options, stateDir: string, notes: string[], env: Environment): string {
  const unitDir = env["STATE_DIRECTORY"]?.split(":")[0] || null;
  const named = options.dataDir ?? (unitDir === null ? null : join(unitDir, "data"));
  const dir = resolve(named ?? join(baseOf(options), "data"));
  try {
    couldMakeFolder(dir);
    return dir;
  } catch (cause) {
    const inState = join(stateDir, "data");
    if (dir === inState) return dir;
    if (named !== null) throw unwritable("DATA_UNWRITABLE", "data", dir, cause);
    // No note if the state folder was named: it is meant to stay.
    if (options.stateDir === null)
      notes.push(`${dir} cannot be written, so modules' data is kept in ${inState} (--data DIR names another).`);
    return inState;
  }
}

/**
 * Checks a state folder in the temporary folder. Another user may have made it, or a link in its place, to get code run
 * or files overwritten as this user. hrmr makes the folder with mode 0700.
 *
 * @throws UserError STATE_FOREIGN if it is not this user's own folder, closed to others
 */
function mustBeOwn(folder: string): void {
  const stats = lstatSync(folder, { throwIfNoEntry: false });
  if (stats === undefined) return;
  const user = process.getuid?.() ?? stats.uid;
  const why = stats.isSymbolicLink()
    ? "is a symbolic link"
    : !stats.isDirectory()
      ? "is not a folder"
      : stats.uid !== user
        ? "belongs to another user"
        : isOpenToOthers(folder)
          ? `is open to other users (its mode is ${modeText(stats.mode)})`
          : null;
  if (why === null) return;
  throw new UserError(`The state folder ${folder} ${why}.`, {
    code: "STATE_FOREIGN",
    hint: "Remove it, or name another folder with --state DIR.",
  });
}

/** @throws UserError STATE_SHARED for folders such as /tmp: they cannot be closed to other users */
function mustNotBeShared(dir: string): void {
  const stats = statOf(dir);
  const isShared = stats !== undefined && (stats.mode & STICKY) !== 0 && (stats.mode & EVERYBODY_WRITES) !== 0;
  if (!isShared) return;
  throw new UserError(`The state folder ${dir} cannot be used: every user may write to it.`, {
    code: "STATE_SHARED",
    hint: `Name a folder of this server's own: --state ${join(dir, "hrmr")}`,
  });
}

/**
 * @param unseen  gets the error if the path cannot be read (ENAMETOOLONG, EACCES). Default: the path counts as missing
 */
function statOf(path: string, unseen: (cause: NodeJS.ErrnoException) => void = () => {}): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTDIR") unseen(error as NodeJS.ErrnoException);
    return undefined;
  }
}

const STICKY = 0o1000;
const EVERYBODY_WRITES = 0o002;
/** hrmr's own entries in the state folder, which older versions left open to others. */
const OWN_ENTRIES =
  /^(?:bundles|shipped|versions|data|lock|audit\.log.*|hrmr\.log.*|approved\.json|blocked\.json|upload\.json)$/;

/**
 * Closes a folder that others may enter, as older versions made it, and notes it.
 *
 * @param entries  names in it that are closed too; null: none, since the closed folder protects them
 */
function closeFolder(dir: string, entries: RegExp | null, notes: string[]): void {
  const { mode, uid } = statSync(dir);
  if ((mode & 0o077) === 0) return;
  try {
    if (isMine(uid)) {
      chmodSync(dir, PRIVATE_FOLDER);
      for (const name of readdirSync(dir)) if (entries?.test(name) === true) closeToOthers(join(dir, name));
      notes.push(`${dir} was open to other users (its mode was ${modeText(mode)}): it is closed to them now.`);
      return;
    }
  } catch {
    // The file system has no permissions, or only root may change them: the note below says so.
  }
  notes.push(
    `${dir} is open to other users (its mode is ${modeText(mode)}), and hrmr may not change that: run \`chmod 700 ${dir}\` as its owner.`,
  );
}

function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/** With these causes hrmr does not use another folder: that would only hide them. */
const UNWRITABLE: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  ENOSPC: ["the disk is full", "Make room on it, or name a folder on another disk with --state DIR."],
  EDQUOT: [
    "this user's share of the disk is used up",
    "Make room on it, or name a folder on another disk with --state DIR.",
  ],
  ENAMETOOLONG: ["its path is too long", "Name a shorter one with --state DIR."],
};

function unwritableState(dir: string, code: string, cause: unknown): UserError {
  const [what, hint] = UNWRITABLE[code] ?? ["", ""];
  return new UserError(`The state folder ${dir} cannot be written: ${what} (${code}).`, {
    code: "STATE_UNWRITABLE",
    hint,
    cause,
  });
}

function unwritable(code: string, what: "state" | "data", dir: string, cause: unknown): UserError {
  const hint = `Give this user the right to write to it, or name another with --${what} DIR.`;
  return new UserError(`The ${what} folder ${dir} cannot be written.`, { code, hint, cause });
}

/** For `findState`: makes nothing, and throws if it could not be made or written. */
export function couldMakeFolder(dir: string): void {
  const stat = statSync(dir, { throwIfNoEntry: false });
  if (stat === undefined) return couldMakeFolder(dirname(dir));
  if (!stat.isDirectory()) throw new Error(`${dir} is not a folder`);
  accessSync(dir, constants.W_OK | constants.X_OK);
}

/**
 * @returns the state folder of a project that cannot be written: in the temporary folder, of this user's. @param base
 *   the folder around the modules folder
 */
export function fallbackStateDir(base: string): string {
  const user = process.getuid?.() ?? 0;
  return join(tmpdir(), `hrmr-${user}-${new Bun.CryptoHasher("sha256").update(base).digest("hex").slice(0, 8)}`);
}
