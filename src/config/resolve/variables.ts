/**
 * `${NAME}` in the texts of the config file: replaced by the value of an environment variable. `${NAME:-default}` has a
 * default for a variable that is missing or empty, as in a shell. `$${` is a plain `${`.
 */
import { bareSchema, schemaAt } from "../schema/key-list";
import { formatPath, type KeyPath } from "../key-path";
import type { Mistake } from "../mistakes";
import { isGroup } from "../quoted";
import type { Environment } from "./environment";
import { fromText } from "./text-values";

/** A text of the file with variables in it. */
export interface FilledText {
  readonly path: KeyPath;
  /** As it stands in the file. */
  readonly text: string;
  readonly names: readonly string[];
}

interface Filled {
  /** A copy, with the values of the variables. */
  readonly value: unknown;
  readonly texts: readonly FilledText[];
  /** Variables that are missing, and marks that name none. */
  readonly mistakes: readonly Mistake[];
}

/** `$${`, or `${` up to the next `}`. Without a `}`: to the end. */
const MARK = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;
const FORMS = "Write ${NAME} or ${NAME:-default}, or $${ for a plain ${";

/** Replaces the variables in all texts of `root`, a config file's content. */
export function fillVariables(root: unknown, env: Environment): Filled {
  const texts: FilledText[] = [];
  const mistakes: Mistake[] = [];
  const fill = (value: unknown, path: KeyPath): unknown => {
    if (typeof value === "string") {
      if (!value.includes("${")) return value;
      const filled = fillText(value, env);
      const [mistake] = filled.mistakes;
      if (mistake !== undefined) mistakes.push({ path, message: `${formatPath(path)}: ${mistake}` });
      if (filled.names.length === 0) return filled.text;
      texts.push({ path, text: value, names: filled.names });
      return mistake === undefined ? inItsForm(path, value, filled.text) : value;
    }
    if (Array.isArray(value)) return value.map((item, at) => fill(item, [...path, at]));
    if (!isGroup(value)) return value;
    // A date or time of TOML: Bun makes an object of it that cannot be copied to other threads.
    if (Object.prototype.toString.call(value).startsWith("[object Temporal.")) return String(value);
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name,
        path.length === 0 && name === "$schema" ? inner : fill(inner, [...path, name]),
      ]),
    );
  };
  return { value: fill(root, []), texts, mistakes };
}

/** A text with the values of its variables; unchanged if one of them is missing. */
export function filledText(text: string, env: Environment): string {
  const filled = fillText(text, env);
  return filled.mistakes.length === 0 ? filled.text : text;
}

function fillText(text: string, env: Environment): { text: string; names: string[]; mistakes: string[] } {
  const names: string[] = [];
  const mistakes: string[] = [];
  const filled = text.replaceAll(MARK, (all, inside: string | undefined, end: string | undefined) => {
    if (inside === undefined) return "${";
    const [, name, initial] = (end === "" ? null : INSIDE.exec(inside)) ?? [];
    if (name === undefined || initial?.includes("${") === true) {
      mistakes.push(`"\${" begins no variable that hrmr knows. ${FORMS}`);
      return all;
    }
    names.push(name);
    const value = env[name];
    if (initial !== undefined) return value || initial;
    if (value === undefined) mistakes.push(missing(name));
    return value ?? "";
  });
  return { text: filled, names: [...new Set(names)], mistakes };
}

function missing(name: string): string {
  return `the variable ${name} is neither in the environment nor in .env. Set it, or write \${${name}:-default}`;
}

/** A text that is one variable stands for a number, a list and so on, where a key of the server's takes one. */
function inItsForm(path: KeyPath, text: string, filled: string): unknown {
  const schema = schemaAt(path);
  if (schema === null || !isOneVariable(text) || bareSchema(schema).type === "string") return filled;
  return fromText(schema, filled);
}

/** Whether the text is one variable, and nothing else. */
function isOneVariable(text: string): boolean {
  return /^\$\{[^}]*\}$/.test(text);
}

/** Whether the text is `${NAME}`: it shows nothing of the value. */
export function isBareVariable(text: string): boolean {
  return /^\$\{[A-Za-z_][A-Za-z0-9_]*\}$/.test(text);
}

/** The texts with variables that are at `path`, inside it, or around it. */
export function textsAt(texts: readonly FilledText[], path: KeyPath): readonly FilledText[] {
  return texts.filter((each) => {
    const length = Math.min(each.path.length, path.length);
    return Bun.deepEquals(each.path.slice(0, length), path.slice(0, length));
  });
}

/** @returns a copy in which no text has a variable: the config file would fill it in */
export function withoutVariables<Value>(value: Value): Value;
export function withoutVariables(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("${", () => "$${");
  if (Array.isArray(value)) return value.map(withoutVariables);
  return isGroup(value)
    ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withoutVariables(inner)]))
    : value;
}
