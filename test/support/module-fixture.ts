/**
 * A folder of modules in the temporary folder, with the project's packages, and the steps from a file to a loaded
 * module.
 */
import { mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { LoadSpec } from "../../src/module/version";
import { buildModule, type BuiltModule } from "../../src/module/build/build";
import type { Log } from "../../src/module/contract";
import { hasChanged } from "../../src/module/build/inputs";
import { loadModule, type LoadedModule } from "../../src/module/graph/load";

type LoadOptions = Parameters<typeof loadModule>[1];

const PACKAGES = join(import.meta.dir, "..", "..", "node_modules");
let lastId = 0;

export class Fixture {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-module-")));
  readonly modules = join(this.root, "modules");
  readonly stateDir = join(this.root, ".hrmr");

  constructor(files: Record<string, string> = {}) {
    mkdirSync(this.modules);
    symlinkSync(PACKAGES, join(this.root, "node_modules"));
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  /** In place, as most editors do. `name` is relative to the modules folder. */
  write(name: string, text: string): string {
    const path = join(this.modules, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  /** By a new file renamed over the old one, as other editors do. */
  replace(name: string, text: string): void {
    renameSync(this.write(`${name}.new`, text), join(this.modules, name));
  }

  build(name: string, options: { external?: string[]; file?: string } = {}): Promise<BuiltModule> {
    const file = join(this.modules, options.file ?? `${name}.ts`);
    return buildModule({ name, file }, { stateDir: this.stateDir, external: options.external ?? [] });
  }

  /** Builds again until the inputs are old enough: the next look would otherwise build once more. */
  async buildSettled(name: string, options: { external?: string[]; file?: string } = {}): Promise<BuiltModule> {
    for (const deadline = Date.now() + 3000; Date.now() < deadline;) {
      const built = await this.build(name, options);
      if (!hasChanged(built.inputs)) return built;
    }
    throw new Error(`${name} counts as changed though nobody changes it`);
  }

  spec(built: BuiltModule, config: Record<string, unknown> = {}): LoadSpec {
    const { name, hash, file, source } = built;
    return {
      name,
      id: ++lastId,
      generation: 1,
      hash,
      file,
      source,
      config,
      dataDir: join(this.stateDir, "data", name),
    };
  }

  async load(name: string, options: Partial<LoadOptions> = {}): Promise<LoadedModule> {
    const defaults: LoadOptions = {
      globals: {},
      host: "main",
      log: SILENT_LOG,
      onError: () => undefined,
      timeoutMs: 2000,
    };
    return loadModule(this.spec(await this.build(name)), { ...defaults, ...options });
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

export async function withFixture(
  files: Record<string, string>,
  use: (fixture: Fixture) => Promise<void>,
): Promise<void> {
  const fixture = new Fixture(files);
  try {
    await use(fixture);
  } finally {
    fixture.remove();
  }
}

const ignore = (): void => undefined;
export const SILENT_LOG: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** @returns the reason of `promise`'s rejection; fails if it is fulfilled */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  const fulfilled = Symbol("fulfilled");
  const result = await promise.then(
    () => fulfilled,
    (error: unknown) => error,
  );
  if (result === fulfilled) throw new Error("expected a rejection");
  return result;
}
