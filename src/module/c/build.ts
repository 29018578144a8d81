/**
 * The bundle of a module in C: a script with the sources in it. The module's own process compiles them when it loads
 * the bundle.
 */
import type { ModuleFile } from "../build/discover";
import type { BuildGraph } from "../build/inputs";
import { type CSettings, readSources } from "./sources";

/** @throws ModuleError if the module's file cannot be read. Mistakes in it show when it is compiled */
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
