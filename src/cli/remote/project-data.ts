/** Where the server of this folder keeps its data: the running one, or one that would be started here. */
import { join } from "node:path";
import type { Options } from "../../config/options";
import type { EffectiveConfig } from "../../config/resolve/resolved";
import { UserError } from "../../config/user-error";
import { controlRequest } from "../../control/client";
import { couldMakeFolder, findData, findState } from "../../server/folders";
import { resolveConfig } from "../start/options";
import { findServer } from "./control-target";
import { projectFolder } from "./project-folder";

/** The flags that say where. */
export interface DataPlace {
  readonly config?: string | undefined;
  readonly modules?: string | undefined;
  readonly data?: string | undefined;
}

/** How long a running server may take to answer. In milliseconds. */
const ASK_MS = 2000;

/** @returns the settings and the data folder of a server that is started here with the same flags */
export async function projectData({ config, modules, data }: DataPlace): Promise<{
  readonly options: Options;
  readonly dataDir: string;
}> {
  const isNamed = [config, modules, data].some((each) => each !== undefined);
  const cwd = isNamed ? process.cwd() : projectFolder(process.cwd());
  const resolved = await resolveConfig(
    {
      ...(config === undefined ? null : { config }),
      ...(modules === undefined ? null : { modules }),
      ...(data === undefined ? null : { data }),
      listen: [],
    },
    process.env,
    cwd,
  );
  const options = cwd === process.cwd() ? resolved.options : inProject(resolved.options, cwd);
  const notes: string[] = [];
  const dataDir = findData(options, findState(options, notes, couldMakeFolder), notes, process.env);
  return { options, dataDir };
}

/** Default folders start at the working directory, which is another one here. */
function inProject(options: Options, project: string): Options {
  return { ...options, modulesDir: options.modulesDir ?? join(project, "modules") };
}

/** @returns a text among the running server's settings; null: none runs here, it does not answer, or is too old to know */
export async function runningSetting(place: DataPlace, key: string): Promise<string | null> {
  try {
    const { config, modules } = place;
    const server = await findServer({
      ...(config === undefined ? null : { config }),
      ...(modules === undefined ? null : { modules }),
    });
    const { body } = await controlRequest<Partial<EffectiveConfig>>(server, "GET", "/v1/config", undefined, {
      timeoutMs: ASK_MS,
    });
    const value = body.values?.[key]?.value;
    return typeof value === "string" ? value : null;
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}
