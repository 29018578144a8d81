/**
 * The names allowed for an uploaded module and its files. None may leave the modules folder, or mean something else on
 * another system.
 */
import { UserError } from "../../config/user-error";
import { isModuleFolder, moduleNameOf, RPC } from "../../module/build/discover";

/** A file as it comes or goes: its path from the modules folder, or from the module's own, with "/" between. */
export interface ModuleContent {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The files of a module in a modules folder. */
export interface Layout {
  /** The entry in the modules folder: "greet.ts", or "greet". */
  readonly entry: string;
  readonly isFolder: boolean;
  /** Their paths from the modules folder: "greet.ts", or "greet/index.ts". */
  readonly files: readonly ModuleContent[];
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$/;
/** Names of devices on Windows, with any ending. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(?:\.|$)/i;
/** Control characters, and characters with a meaning on Windows or in a URL. */
// oxlint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\\:*?"<>|]|[ .]$|^ /;
const MAX_PATH_BYTES = 512;
const MAX_SEGMENT_BYTES = 200;
const MAX_DEPTH = 12;

/** @throws UserError UPLOAD_NAME */
export function checkModuleName(name: string): void {
  const isReserved =
    name === RPC || DEVICE.test(name) || name in {} || !isModuleFolder(name) || moduleNameOf(name) !== null;
  const isTaken = moduleNameOf(`${name}.ts`) !== name;
  if (NAME.test(name) && !isReserved && !isTaken) return;
  throw new UserError(`${shown(name)} is not a name for a module.`, {
    code: "UPLOAD_NAME",
    hint: "Take letters, digits, - and _, beginning with a letter or a digit: 64 at most, and no reserved word.",
  });
}

/**
 * @param path  "index.ts", "lib/words.json"
 * @throws UserError UPLOAD_PATH for a path that leaves its folder, or that means something else on some systems
 */
export function checkPath(path: string): void {
  const segments = path.split("/");
  const why =
    path === "" || Buffer.byteLength(path) > MAX_PATH_BYTES || segments.length > MAX_DEPTH
      ? "it is empty or too long"
      : segments.map(reasonAgainst).find((reason) => reason !== null);
  if (why === null || why === undefined) return;
  throw new UserError(`The path ${shown(path)} is refused: ${why}.`, {
    code: "UPLOAD_PATH",
    hint: "Name files by their paths within the module's own folder, such as index.ts or lib/words.json.",
  });
}

function reasonAgainst(segment: string): string | null {
  if (segment === "") return "it begins or ends with a slash, or has two in a row";
  if (segment === "." || segment === "..") return "it has dots in place of a folder's name";
  if (segment.startsWith(".")) return `${shown(segment)} begins with a dot`;
  if (segment.toLowerCase() === "node_modules") return "packages are not sent: install them beside the server";
  if (FORBIDDEN.test(segment)) return `${shown(segment)} has a character that not every system takes`;
  if (DEVICE.test(segment)) return `${shown(segment)} is a device on Windows`;
  if (segment !== segment.normalize("NFC")) return `${shown(segment)} is not in Unicode's form NFC`;
  return Buffer.byteLength(segment) > MAX_SEGMENT_BYTES ? "a name in it is too long" : null;
}

/**
 * Recognizes the upload: one file `NAME.ts`, or a folder's files with an `index.ts` among them. Their paths may all
 * begin with `NAME/`.
 *
 * @throws UserError UPLOAD_NAME, UPLOAD_PATH or UPLOAD_SHAPE
 */
export function layOut(name: string, sent: readonly ModuleContent[]): Layout {
  checkModuleName(name);
  for (const { path } of sent) checkPath(path);
  const prefix = `${name}/`;
  const isPrefixed = sent.length > 0 && sent.every(({ path }) => path.startsWith(prefix));
  const files = sent.map(({ path, bytes }) => ({ path: isPrefixed ? path.slice(prefix.length) : path, bytes }));
  mustNotMeet(files.map(({ path }) => path));
  const [first] = files;
  if (first !== undefined && files.length === 1 && !isPrefixed && moduleNameOf(first.path) === name) {
    return { entry: first.path, isFolder: false, files };
  }
  mustHaveIndex(
    name,
    files.map(({ path }) => path),
  );
  return { entry: name, isFolder: true, files: files.map(({ path, bytes }) => ({ path: prefix + path, bytes })) };
}

/** Refuses two files at one path, even if they differ only in case, or one would have to be a folder of the other. */
function mustNotMeet(paths: readonly string[]): void {
  const folded = new Map<string, string>();
  for (const path of paths) {
    const twin = folded.get(fold(path));
    if (twin !== undefined)
      throw shapeError(
        `${shown(twin)} and ${shown(path)} are one file, at least on some systems.`,
        "Rename one of them.",
      );
    folded.set(fold(path), path);
  }
  for (const path of paths) {
    for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1)) {
      const file = folded.get(fold(path.slice(0, at)));
      if (file !== undefined)
        throw shapeError(`${shown(file)} is a file, and a folder for ${shown(path)}.`, "Rename one of them.");
    }
  }
  mustSpellAlike(paths);
}

/** "Lib/a.ts" and "lib/b.ts" lie in one folder on some systems, and in two on others. */
function mustSpellAlike(paths: readonly string[]): void {
  const spellings = new Map<string, string>();
  for (const folder of paths.flatMap((path) => path.split("/").map((_, at, all) => all.slice(0, at).join("/")))) {
    const other = spellings.get(fold(folder)) ?? folder;
    if (other !== folder)
      throw shapeError(`${shown(other)} and ${shown(folder)} are one folder on some systems.`, "Rename one of them.");
    spellings.set(fold(folder), folder);
  }
}

function mustHaveIndex(name: string, paths: readonly string[]): void {
  if (paths.length === 0)
    throw shapeError("There is no file in it.", `Send ${name}.ts, or the files of a folder with an index.ts.`);
  const indexes = paths.filter((path) => moduleNameOf(path) === "index");
  if (indexes.length === 1) return;
  if (indexes.length > 1)
    throw shapeError(`Two files claim to be the module: ${indexes.join(" and ")}.`, "Send one of them.");
  const [path = ""] = paths;
  const what =
    paths.length === 1
      ? `${shown(path)} is not the module ${name}.`
      : `Of these ${paths.length} files none is the module ${name}.`;
  throw shapeError(what, `Send one file, ${name}.ts, or the files of a folder with an index.ts.`);
}

/** Gives the same result for names that a file system may treat as equal. */
export function fold(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

function shapeError(what: string, hint: string): UserError {
  return new UserError(what, { code: "UPLOAD_SHAPE", hint });
}

const MAX_SHOWN_CHARS = 80;

function shown(text: string): string {
  return JSON.stringify(text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text);
}
