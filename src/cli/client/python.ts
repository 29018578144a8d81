/** A client in Python: the common part, and a class with the types of these procedures. Pure. */
import { type TypeWriter, typeOf } from "../../module/build/json-schema";
import { byModule, type ClientProcedure } from "./procedures";

const text = (value: string): string => JSON.stringify(value);

function literal(value: unknown): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return `Literal[${value ? "True" : "False"}]`;
  if (typeof value === "string") return `Literal[${text(value)}]`;
  return typeof value === "number" && Number.isInteger(value) ? `Literal[${value}]` : "Any";
}

const PYTHON: TypeWriter = {
  unknown: "Any",
  null: "None",
  boolean: "bool",
  number: "float",
  integer: "int",
  string: "str",
  literal,
  list: (item) => `List[${item}]`,
  tuple: (items) => `Tuple[${items.join(", ")}]`,
  map: (value) => `Dict[str, ${value}]`,
  // A field of an object within an object: TypedDict has names of its own, which nobody would look up.
  object: () => "Dict[str, Any]",
  union: (types) => (types.length === 1 ? (types[0] as string) : `Union[${[...new Set(types)].join(", ")}]`),
  intersection: () => "Any",
};

const KEYWORDS = new Set(
  "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield".split(
    " ",
  ),
);
const isName = (name: string): boolean => /^[A-Za-z_]\w*$/.test(name) && !KEYWORDS.has(name);

/** @param runtime the text of client_runtime.py. @param note a line that says where it comes from */
export function pythonClient(procedures: readonly ClientProcedure[], runtime: string, note: string): string {
  const modules = byModule(procedures).filter(([module]) => isName(module));
  const classes = modules.map(([module, own]) => {
    const methods = own.filter(({ service }) => isName(service)).map((one) => methodOf(one));
    return `\n\nclass ${classOf(module)}:\n${methods.join("\n")}`;
  });
  const fields = modules.map(([module]) => `    ${module}: ${classOf(module)}\n`);
  return `# ${note}
${runtime.replace("from typing import Any, Iterator, Optional", "from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Literal, Optional, Tuple, Union")}
${classes.join("")}

class Hub(Client):
    """All procedures of the server: \`hub = Hub(port=8080)\`, \`hub.call("kv.get", {"key": "a"})\`."""
${fields.length === 0 ? "" : `\n    if TYPE_CHECKING:\n${fields.map((field) => `    ${field}`).join("")}`}`;
}

function methodOf({ service, description, input, output }: ClientProcedure): string {
  const doc = description === "" ? "..." : text(description.replaceAll(/\s+/g, " "));
  return `    def ${service}(self, ${paramsOf(input)}) -> ${typeOf(output, PYTHON)}:\n        ${doc}\n`;
}

/** The fields of an object as keywords, which is how people call. */
function paramsOf(input: unknown): string {
  const { properties, required } = (input ?? {}) as { properties?: Record<string, unknown>; required?: string[] };
  const names = Object.keys(properties ?? {});
  if (names.length === 0 || !names.every(isName))
    return `params: ${input === undefined ? "Any = None" : typeOf(input, PYTHON)}`;
  const fields = Object.entries(properties ?? {}).map(([name, schema]) => {
    const type = typeOf(schema, PYTHON);
    return required?.includes(name) === true ? `${name}: ${type}` : `${name}: ${type} = ...`;
  });
  return `*, ${fields.join(", ")}`;
}

function classOf(module: string): string {
  return `${module.replaceAll(/(?:^|[-_])(\w)/g, (_, letter: string) => letter.toUpperCase())}Procedures`;
}
