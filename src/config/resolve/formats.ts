/**
 * The three formats of a config file: JSON with comments, TOML, YAML.
 */
import { extname } from "node:path";
import { pathToFileURL } from "node:url";
import type { Positions } from "../positions/index";
import { locateJson } from "../positions/json";
import { locateToml } from "../positions/toml";
import { locateYaml } from "../positions/yaml";
import { maskLine, maskParserMessage } from "./secrets";
import { UserError } from "../user-error";

interface Format {
  /** For messages. */
  readonly name: string;
  /** The module loader's name for it. */
  readonly loader: "jsonc" | "toml" | "yaml";
  /** @throws SyntaxError without a position */
  parse(text: string): unknown;
  locate(text: string): Positions;
}

const JSON_FORMAT: Format = { name: "JSON", loader: "jsonc", parse: Bun.JSONC.parse, locate: locateJson };
const TOML_FORMAT: Format = { name: "TOML", loader: "toml", parse: Bun.TOML.parse, locate: locateToml };
// A file of comments alone is empty.
const parseYaml = (text: string): unknown => Bun.YAML.parse(text) ?? {};
const YAML_FORMAT: Format = { name: "YAML", loader: "yaml", parse: parseYaml, locate: locateYaml };

/** By the end of a file's name; any other is JSON. */
export function formatOf(path: string): Format {
  const extension = extname(path).toLowerCase();
  if (extension === ".toml") return TOML_FORMAT;
  return extension === ".yaml" || extension === ".yml" ? YAML_FORMAT : JSON_FORMAT;
}

/** @throws UserError BAD_CONFIG_SYNTAX with line, column and the line itself */
export async function parseText(path: string, text: string): Promise<unknown> {
  const format = formatOf(path);
  try {
    return format.parse(text);
  } catch (cause) {
    const where = await findSyntaxError(path, format);
    const line = maskLine(where?.lineText ?? "");
    const message = where === null ? `this is not ${format.name}` : maskParserMessage(where.message);
    throw new UserError(`${path}${where?.position ?? ""}: ${message}.`, {
      code: "BAD_CONFIG_SYNTAX",
      hint: line === "" ? "Correct the file and try again." : `There: ${line}`,
      cause,
    });
  }
}

/** The parsers give no position. The module loader does, if it loads the file as a module of the format's type. */
async function findSyntaxError(
  path: string,
  { loader }: Format,
): Promise<{ position: string; message: string; lineText?: string } | null> {
  try {
    // Without the query, a second attempt at the same path would get the cached failure of the first.
    await import(`${pathToFileURL(path).href}?at=${performance.now()}`, { with: { type: loader } });
    return null;
  } catch (error) {
    const { message, position } = error as BuildMessage;
    return position ? { position: `:${position.line}:${position.column}`, message, lineText: position.lineText } : null;
  }
}
