/** Turns the compiler's output into errors in the author's files. */
import { ModuleError, type SourcePosition, positionInText } from "../graph/describe-error";
import { authorsPath, type CSources, sourcesError } from "./sources";

/** One message of the compiler. */
interface Finding {
  readonly message: string;
  /** The path in the sources' root. null: not a file of the author's. */
  readonly file: string | null;
  readonly line: number;
  readonly isError: boolean;
}

// The compiler assumes that such a function returns an int: half of a pointer, whose first use ends the process.
const FATAL_WARNING = /^implicit declaration of function '(\w+)'/;
const UNRESOLVED = /^unresolved reference to '(\w+)'/;

/**
 * @param text the message of an error of `cc`: lines like "FILE:3: error: why"
 * @param folder the folder of the sources for the compiler
 */
function readFindings(text: string, folder: string): Finding[] {
  const findings: Finding[] = [];
  for (const [, path = "", line, kind, message = ""] of text.matchAll(/^(.*?):(?:(\d+):)? (error|warning): (.*)$/gm)) {
    const isAuthors = line !== undefined && path.startsWith(`${folder}/`);
    const file = isAuthors ? path.slice(folder.length + 1) : null;
    findings.push({
      message: explain(message),
      file,
      line: Number(line ?? 0),
      isError: kind === "error" || FATAL_WARNING.test(message),
    });
  }
  return findings;
}

/** The compiler's words, or clearer ones. */
function explain(message: string): string {
  const [, undeclared] = FATAL_WARNING.exec(message) ?? [];
  if (undeclared !== undefined)
    return `${undeclared} is not declared. Write its prototype, or include the header that has it`;
  const [, unresolved] = UNRESOLVED.exec(message) ?? [];
  if (unresolved === "hrmr_module") return "there is no hrmr_module. Write void hrmr_module(hrmr_setup *setup) { ... }";
  if (unresolved !== undefined)
    return `${unresolved} is declared, and defined nowhere. Is it in a library? Write #pragma hrmr link "NAME"`;
  return message;
}

/** @returns the first error with its position, and the others behind it; null if there is none */
export function compileError(sources: CSources, text: string, folder: string): ModuleError | null {
  const errors = readFindings(text, folder).filter((finding) => finding.isError);
  // An error without a line often follows from one with a line.
  const [first, ...rest] = [
    ...errors.filter(({ file }) => file !== null),
    ...errors.filter(({ file }) => file === null),
  ];
  if (first === undefined) return null;
  const others = rest.map((finding) => `${positionText(positionOf(sources, finding))}: ${finding.message}`);
  return new ModuleError(sources.name, first.message, positionOf(sources, first), others);
}

/** @returns the warnings, one line each: "hello.c:3: why" */
export function warnings(sources: CSources, text: string, folder: string): string[] {
  return readFindings(text, folder)
    .filter(({ isError, file }) => !isError && file !== null)
    .map((finding) => `${positionText(positionOf(sources, finding))}: ${finding.message}`);
}

export function libraryError(
  sources: CSources,
  { name, position }: CSources["libs"][number],
  reason: string,
): ModuleError {
  const message = `cannot link "${name}": ${reason}`;
  if (position === null) return sourcesError(sources, message);
  return new ModuleError(sources.name, message, positionAt(sources, position.file, position.line, name));
}

function positionOf(sources: CSources, { file, line, message }: Finding): SourcePosition {
  const found =
    file === null ? findName(sources, /^\w+(?= is declared and nowhere)/.exec(message)?.[0]) : { file, line };
  if (found === null) return sourcesError(sources, message);
  // The compiler gives no column, but often the word that it failed at.
  const [, name] =
    /.*'([^']+)'/.exec(message) ?? /^(\w+) is (?:not )?declared|: (\w+)$/.exec(message)?.filter(Boolean) ?? [];
  return positionAt(sources, found.file, found.line, name);
}

/** @param name a word or a sign of the line to point at */
function positionAt(sources: CSources, file: string, line: number, name: string | undefined): SourcePosition {
  // The text of this version: the file may have changed since.
  const text = Buffer.from(sources.files[file] ?? "", "latin1").toString();
  return positionInText(authorsPath(sources, file), text, line, columnOf(name, text.split("\n")[line - 1] ?? ""));
}

/** From 1. undefined: it is missing, or a sign that occurs more than once. */
function columnOf(name: string | undefined, text: string): number | undefined {
  if (name === undefined) return undefined;
  const isWord = /^\w+$/.test(name);
  const at = isWord ? text.search(new RegExp(`(?<!\\w)${name}(?!\\w)`)) : text.indexOf(name);
  return at < 0 || (!isWord && at !== text.lastIndexOf(name)) ? undefined : at + 1;
}

/** The position where a name that the linker misses is called, or else declared. */
function findName({ files, entry }: CSources, name: string | undefined): { file: string; line: number } | null {
  if (name === undefined) return null;
  const ordered = [entry, ...Object.keys(files).filter((file) => file !== entry)];
  for (const pattern of [
    new RegExp(`[=(,;{!&|?:+-]\\s*${name}\\s*\\(|return\\s+${name}\\s*\\(`),
    new RegExp(`\\b${name}\\b`),
  ]) {
    for (const file of ordered) {
      const line = (files[file] ?? "").split("\n").findIndex((text) => pattern.test(text));
      if (line >= 0) return { file, line: line + 1 };
    }
  }
  return null;
}

function positionText({ file, line }: SourcePosition): string {
  return line === undefined ? file : `${file}:${line}`;
}
