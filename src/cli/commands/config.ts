/**
 * `hrmr config`: the configuration that `hrmr start` with the same flags would have, and where each value comes from.
 */
import { defineCommand } from "citty";
import { jsonSchema } from "../../config/schema/json-schema";
import { CONFIG_KEYS } from "../../config/schema/key-list";
import {
  configFileOf,
  effectiveConfig,
  type EffectiveConfig,
  type ResolvedConfig,
} from "../../config/resolve/resolved";
import { MASK } from "../../config/quoted";
import { badValue, type Flags, switchFlag } from "../flags";
import { readStartFlags, START_ARGS } from "../start/flags";
import { resolveConfig } from "../start/options";

const args = {
  json: switchFlag("Print it as JSON, in the form of hrmr.json, without module settings that may be secret"),
  origins: switchFlag("With --json: print each key with its value and origin instead"),
  "show-secrets": switchFlag("Also show module settings that may be secret"),
  schema: switchFlag("Print the JSON Schema of the config file, for editors"),
  ...START_ARGS,
} as const satisfies Flags;

export const configCommand = defineCommand({
  meta: {
    name: "config",
    description: "Show the configuration that start would have, and where each value comes from",
  },
  args,
  async run({ args: { json, origins, schema, "show-secrets": showSecrets = false, ...flags }, rawArgs }) {
    if (origins === true && json !== true)
      throw badValue("--origins goes with --json.", "Without --json the origins are shown anyway.");
    if (schema === true) {
      console.log(JSON.stringify(jsonSchema(), null, 2));
      return;
    }
    const resolved = await resolveConfig(readStartFlags(flags, rawArgs), process.env, process.cwd());
    for (const note of resolved.notes) console.error(note);
    if (json === true && origins !== true) return printConfigFile(resolved, showSecrets);
    const config = effectiveConfig(resolved, showSecrets);
    console.log(json === true ? JSON.stringify(config, null, 2) : configTable(config));
  },
});

/** Prints a config file on stdout, and the names of omitted settings on stderr. */
function printConfigFile(resolved: ResolvedConfig, showSecrets: boolean): void {
  const { config, leftOut } = configFileOf(resolved, showSecrets);
  console.log(JSON.stringify(config, null, 2));
  if (leftOut.length > 0)
    console.error(`Left out, since they may be secret: ${leftOut.join(", ")}.\nPass --show-secrets to include them.`);
}

/** One line for each key, under its group. A * marks values that differ from the default. */
function configTable({ file, values }: EffectiveConfig): string {
  const rows = Object.entries(values).map(([name, { value, origin }]) => {
    const key = CONFIG_KEYS.get(name);
    const differs = key === undefined || !Bun.deepEquals(key.default, value);
    return {
      group: groupOf(name),
      name: nameInGroup(name),
      value: JSON.stringify(value),
      origin,
      mark: differs ? "*" : " ",
    };
  });
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const valueWidth = Math.min(40, Math.max(...rows.map(({ value }) => value.length)));
  const lines = rows.flatMap(({ group, name, value, origin, mark }, at) => {
    const head = group === rows[at - 1]?.group || group === "" ? [] : ["", group];
    return [...head, `${mark} ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${origin}`];
  });
  const isMasked = Object.values(values).some(({ value }) => value === MASK);
  const notes = [
    "* differs from the default",
    ...(isMasked ? [`${MASK} may be a secret; --show-secrets shows it`] : []),
  ];
  return [file === null ? "no config file" : `config file ${file}`, ...notes, "", ...lines].join("\n");
}

/** "limits", "modules.greet"; "" for keys without a group. */
function groupOf(name: string): string {
  const steps = name.split(".");
  if (steps[0] === "modules") return steps.slice(0, 2).join(".");
  return steps.length === 1 ? "" : (steps[0] ?? "");
}

/** A module without settings has only its group's name. */
function nameInGroup(name: string): string {
  const group = groupOf(name);
  return group === "" ? name : name.slice(group.length + 1);
}
