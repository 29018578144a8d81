/** Keeps the configuration while the files and variables that it comes from stay the same. A reload asks for it. */
import { existsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { CONFIG_FILES, ENV_FILE } from "../working-folder";
import type { Environment } from "./environment";
import type { ResolvedConfig } from "./resolved";

interface ConfigSources {
  readonly env: Environment;
  readonly cwd: string;
  /** The file that --config names, as it was typed. undefined: HRMR_CONFIG names it, or it is one of CONFIG_FILES. */
  readonly file: string | undefined;
}

// A file's time comes from the kernel's tick: 10 ms at the slowest. Two writes within one tick look the same.
const CLOCK_TICK_MS = 10;

/**
 * @param read reads the configuration
 * @returns a function that calls `read` only if its result could be another one than before. Each call returns options
 *   of its own
 */
export function keepConfig(read: () => Promise<ResolvedConfig>, sources: ConfigSources): () => Promise<ResolvedConfig> {
  let kept: { readonly facts: string; readonly config: ResolvedConfig } | null = null;
  return async () => {
    const { facts, isSettled } = factsOf(sources);
    if (kept?.facts !== facts) {
      // A failed read is not kept: the next one tells the mistakes again.
      kept = null;
      const config = await read();
      if (!isSettled) return config;
      kept = { facts, config };
    }
    return { ...kept.config, options: structuredClone(kept.config.options) };
  };
}

/** `isSettled`: false if a file was changed so shortly before that a later change may look the same. */
function factsOf({ env, cwd, file }: ConfigSources): { facts: string; isSettled: boolean } {
  const named = file ?? (env["HRMR_CONFIG"] || undefined);
  const candidates = (named === undefined ? CONFIG_FILES : [named]).map((name) => resolve(cwd, name));
  const paths = [...candidates, join(dirname(candidates[0] ?? cwd), ENV_FILE)];
  const now = Date.now();
  let isSettled = true;
  const files = paths.map((path) => {
    const info = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (info === undefined) return `${path}\n`;
    isSettled &&= Number(info.ctimeMs) < now - CLOCK_TICK_MS;
    const { dev, ino, size, mtimeNs, ctimeNs } = info;
    // A config file in another folder may bring a modules folder with it.
    return `${path} ${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs} ${existsSync(join(dirname(path), "modules"))}\n`;
  });
  return { facts: `${files.join("")}${JSON.stringify(env)}`, isSettled };
}
