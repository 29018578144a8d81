/**
 * The bundle of a module in C: a script with the sources in it. They are compiled where it is loaded, in the module's
 * own process.
 */
import type { ModuleFile } from "../build/discover";
import type { BuildGraph } from "../build/inputs";
import { type CSettings, readSources } from "./sources";

/** @throws ModuleError when the module's file cannot be read; what is wrong in it is told where it is compiled */
export function bundleC(
  file: ModuleFile,
  { libs = [], include = [] }: Partial<CSettings>,
): { text: string; graph: BuildGraph; externals: readonly string[] } {
  const { sources, inputs, missing } = readSources(file, { libs, include });
  const text = `// ${JSON.stringify(file.file)}: compiled when it is loaded.
import { nativeModule } from "hrmr/native";
export default nativeModule(${JSON.stringify(sources)}, (body, init) => new Response(body, init));
`;
  return {
    text,
    graph: { inputs: Object.fromEntries(inputs.map((path) => [path, { imports: [] }])) },
    externals: missing,
  };
}
