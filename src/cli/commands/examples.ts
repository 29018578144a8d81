/** `hrmr examples`: lists the examples that are in the program. `hrmr examples NAME` writes one into the project. */
import { basename, extname } from "node:path";
import { defineCommand } from "citty";
import { assetFiles } from "../../config/assets";
import { suggest } from "../../config/nearest";
import { argument, badValue, type Flags, switchFlag, valueFlag } from "../flags";
import { modulesFolder } from "../remote/modules-folder";
import { withProjectPort } from "../remote/project-port";
import { printJson } from "../screen/terminal";
import { addFiles } from "../templates/add-files";
import { commandsIn, RELOAD, titleOf } from "../templates/head-comment";

const args = {
  name: argument("The example to write. Default: list them", { required: false }),
  modules: valueFlag("dir", "Folder of the modules. Default: the project's"),
  json: switchFlag("Print the list as JSON"),
} as const satisfies Flags;

export const examplesCommand = defineCommand({
  meta: { name: "examples", description: "List the examples, or write one into the project" },
  args,
  async run({ args: { name, modules, json } }) {
    const examples = allExamples();
    if (name === undefined) {
      const list = examples.map(({ name, file, title }) => ({ name, file, title }));
      if (json === true) return printJson(list);
      const width = Math.max(...list.map((each) => each.name.length));
      for (const each of list) console.log(`${each.name.padEnd(width)}  ${each.title}`);
      return console.log("\n`hrmr examples NAME` writes one into the modules folder.");
    }
    const example = examples.find((each) => each.name === name);
    if (example === undefined) {
      const near = suggest(name, exampleNames(), "hrmr examples ");
      throw badValue(`There is no example ${JSON.stringify(name)}.`, near || "`hrmr examples` lists them.");
    }
    const { folder } = await modulesFolder(modules);
    const text = await withProjectPort(example.text);
    addFiles(folder, name, [[example.file, text], ...programsOf(name)]);
    console.log(`\nNext:\n${[RELOAD, ...commandsIn(text)].map((line) => `  ${line}`).join("\n")}`);
    console.log("\nThe comment at the top of the file tells more, such as its settings.");
  },
});

/** For completion. */
export function exampleNames(): string[] {
  return allExamples().map(({ name }) => name);
}

interface Example {
  /** The module's name: "tally". */
  readonly name: string;
  /** "tally.ts". */
  readonly file: string;
  readonly title: string;
  readonly text: string;
}

/** The program of an example whose module runs one. */
function programsOf(name: string): [path: string, text: string][] {
  return assetFiles("examples").filter(([path]) => path === `${name}.py`);
}

/** In the order of their names. Other folders of examples are those of `hrmr init` and `hrmr new`. */
function allExamples(): Example[] {
  const files = assetFiles("examples").filter(([path]) => /^(?:c\/)?[\w-]+\.(?:ts|c)$/.test(path));
  return files
    .map(([path, text]) => {
      const file = basename(path);
      return {
        name: file.slice(0, -extname(file).length),
        file,
        title: `${titleOf(text)}${extname(file) === ".c" ? ", in C" : ""}`,
        text,
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
