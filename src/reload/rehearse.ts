/**
 * The first half of a first reload, for `hrmr validate`: finds out which modules would load, without starting them. It
 * runs a module's top level, but no setup, check or dispose.
 */
import { refuseUnfit } from "./bring-up";
import { look } from "./look";
import type { ModuleSet } from "./module-set";
import { prepare } from "./prepare";
import { EVERYTHING } from "./order";
import { beginRun, type Failure, type Run } from "./state";
import { type BoundTask, takesHttpText, whyNoTool } from "../module/route";
import type { Generation } from "../module/generation";
import { parseWhen } from "../module/shape/when";

/** A module that a start would load, or would fail to load. */
export interface RehearsedModule {
  readonly name: string;
  /** The author's file; null: there is none. */
  readonly source: string | null;
  readonly routes: number;
  readonly services: number;
  /** Clients can call a service of it. */
  readonly hasProcedures: boolean;
  /** Where its `start` or `stop` would run; null: it has neither. */
  readonly background: "server" | "process" | null;
  /** Its tasks: name, when, and next run in milliseconds since 1970 (null: never). */
  readonly tasks: readonly { readonly name: string; readonly when: string; readonly nextAtMs: number | null }[];
  /** The words of `takesHttpText`. */
  readonly takesHttp: string;
  /** Procedures with a schema that cannot be written as JSON Schema. */
  readonly undescribed: readonly string[];
  /** Services that say `mcp: true` and are offered to no AI agent: each with the reason. */
  readonly noTools: readonly string[];
  /** Why it cannot be loaded: cause, position and code frame, in several lines. null: it can. */
  readonly error: string | null;
  /** It claims another module's routes. */
  readonly isConflict: boolean;
}

/**
 * @param timeZone for tasks without one of their own; null: the system's
 * @throws UserError when the modules folder cannot be read
 */
export async function rehearse(registry: ModuleSet, timeZone: string | null): Promise<RehearsedModule[]> {
  const run = beginRun(registry, EVERYTHING, null);
  try {
    await look(run);
    for (const file of run.files) await prepare(run, file);
    await refuseUnfit(run);
    return listModules(run, timeZone);
  } finally {
    for (const { generation } of run.candidates.values()) {
      await generation.dispose();
      if (generation.needsHost) await registry.options.host.retire(generation.id);
    }
  }
}

function listModules({ files, candidates, failures }: Run, timeZone: string | null): RehearsedModule[] {
  const found = files.map(({ name, file }) => {
    const generation = candidates.get(name)?.generation;
    const routes = generation?.routes ?? [];
    return {
      name,
      source: file,
      routes: routes.length,
      services: generation?.services.size ?? 0,
      hasProcedures: generation?.hasProcedures ?? false,
      background: generation?.life?.background ?? null,
      tasks: [...(generation?.tasks.values() ?? [])].map((task) => nextOf(task, timeZone)),
      takesHttp: takesHttpText(routes),
      undescribed: undescribedOf(generation),
      noTools: noToolsOf(generation),
      ...reasonOf(failures.get(name)),
    };
  });
  const missing = [...failures].filter(([name]) => !files.some((file) => file.name === name));
  return [
    ...found,
    ...missing.map(([name, failure]) => ({
      name,
      source: null,
      routes: 0,
      services: 0,
      hasProcedures: false,
      background: null,
      tasks: [],
      takesHttp: "",
      undescribed: [],
      noTools: [],
      ...reasonOf(failure),
    })),
  ];
}

function undescribedOf(generation: Generation | undefined): string[] {
  const services = [...(generation?.services.values() ?? [])].map(({ service }) => service);
  return services.filter(({ isPublic, isUndescribed }) => isPublic && isUndescribed).map(({ name }) => name);
}

function noToolsOf(generation: Generation | undefined): string[] {
  return [...(generation?.services.values() ?? [])].flatMap(({ service }) => {
    const why = service.isMcpTool ? whyNoTool(service) : null;
    return why === null ? [] : [`${service.name}: ${why}`];
  });
}

function nextOf({ task: { name, when, timeZone } }: BoundTask, zone: string | null): RehearsedModule["tasks"][number] {
  return { name, when, nextAtMs: parseWhen(when, timeZone ?? zone).next(Date.now()) };
}

function reasonOf(failure: Failure | undefined): Pick<RehearsedModule, "error" | "isConflict"> {
  return { error: failure?.text ?? null, isConflict: failure?.code === "conflict" };
}
