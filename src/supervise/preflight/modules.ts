/**
 * Checks whether the modules could be loaded: builds and loads each like a start, in a temporary folder, without
 * starting it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import { displayPath } from "../../module/graph/describe-error";
import type { RehearsedModule } from "../../reload/rehearse";
import type { ServerLog } from "../../observe/log/log";
import type { Folders } from "../../server/folders";
import { rehearseServer } from "../../server/server";
import type { Uplink } from "../../server/uplink";
import type { Findings } from "./findings";

/** Nobody connects to a rehearsal. */
const NOBODY: Uplink = {
  reload: () => Promise.reject(new Error("a rehearsal is not reloaded")),
  crashed: () => Promise.resolve(false),
  stop: () => undefined,
  snapshots: () => Promise.reject(new Error("a rehearsal has no figures")),
  publish: () => undefined,
  events: () => undefined,
};

/**
 * @param folders  where the modules are; nothing is written to its state folder
 * @returns those that a start would load
 */
export async function checkModules(findings: Findings, options: Options, folders: Folders): Promise<FoundModule[]> {
  let modules: FoundModule[] = [];
  await findings.look("modules", async () => {
    const warnings: string[] = [];
    modules = await inTemporaryFolder(async (stateDir) => {
      const found = await rehearseServer({
        options: structuredClone(options),
        folders: { ...folders, stateDir, dataDir: join(stateDir, "data"), notes: [] },
        log: collectingLog(warnings),
        sockets: [],
        slot: 0,
        uplink: NOBODY,
        approved: null,
      });
      return found.map((module) => ({ ...module, isShipped: module.source?.startsWith(stateDir) === true }));
    });
    for (const module of modules) tell(findings, module, options.http.use);
    for (const text of warnings) findings.warn("modules", text);
    tellUnknown(findings, modules, options);
    return "built and loaded, each by itself; their setup and check were not run";
  });
  return modules.filter(({ error }) => error === null);
}

/** Removes the folder in any case, even if a signal ends the process. */
async function inTemporaryFolder<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = makeTemporaryFolder();
  const remove = (): void => rmSync(dir, { recursive: true, force: true });
  process.once("exit", remove);
  try {
    return await use(dir);
  } finally {
    process.off("exit", remove);
    remove();
  }
}

function makeTemporaryFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), "hrmr-validate-"));
  } catch (cause) {
    throw new UserError(`The modules cannot be tried: ${tmpdir()} cannot be written.`, {
      code: "TEMPORARY_UNWRITABLE",
      hint: "Name a folder that this user may write to in TMPDIR.",
      cause,
    });
  }
}

const STARTS = { server: ", starts in one process", process: ", starts in each process" } as const;

export type FoundModule = RehearsedModule & { readonly isShipped: boolean };

function tell(findings: Findings, module: FoundModule, use: readonly string[]): void {
  const {
    name,
    source,
    isShipped,
    routes,
    services,
    background,
    tasks,
    takesHttp,
    undescribed,
    noTools,
    error,
    isConflict,
  } = module;
  const check = `module ${name}`;
  const from = source === null ? "" : isShipped ? ", comes with hrmr" : `, ${displayPath(source)}`;
  if (takesHttp !== "")
    findings.warn(check, takesHttp, "Such requests never reach HTTP routes, middleware and the limits for HTTP.");
  if (undescribed.length > 0)
    findings.warn(
      check,
      `the schema of ${undescribed.join(", ")} cannot be written as JSON Schema: clients do not see the input`,
      "Take a library that writes it, such as zod (not zod/mini), and no transformation.",
    );
  if (noTools.length > 0)
    findings.warn(
      check,
      `AI agents are not offered every service that says mcp: true. ${noTools.join("; ")}`,
      "A tool of MCP is public, and its input has no schema or one of an object (docs/mcp.md).",
    );
  const life = background === null ? "" : STARTS[background];
  if (error === null) {
    const offered = services === 0 ? "" : `, ${counted(services, "service")}`;
    const due = tasks.map((task) => `; ${JSON.stringify(task.name)} is due ${dueText(task)}`).join("");
    return findings.ok(check, `${counted(routes, "route")}${offered}${life}${from}${due}`);
  }
  const code = use.includes(name) ? "MIDDLEWARE_MISSING" : isConflict ? "PREFIX_TAKEN" : "MODULE_FAILED";
  const hint =
    code === "MIDDLEWARE_MISSING" ? "A start would be refused." : "A start would leave it out and serve the others.";
  findings.error(check, { message: error, hint, code });
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function dueText({ nextAtMs }: FoundModule["tasks"][number]): string {
  return nextAtMs === null ? "never" : `at ${new Date(nextAtMs).toISOString().replace(".000Z", "Z")}`;
}

/** An unknown name is no mistake: the module may come later. */
function tellUnknown(findings: Findings, modules: readonly RehearsedModule[], { modules: settings }: Options): void {
  const known = new Set(modules.map(({ name }) => name));
  for (const [name, { enabled }] of Object.entries(settings)) {
    if (!known.has(name) && enabled !== false)
      findings.warn(`module ${name}`, "there is no such module, and the configuration has settings for it");
  }
}

function collectingLog(into: string[]): ServerLog {
  const note = (...values: unknown[]): void =>
    void into.push(values.map((value) => (typeof value === "string" ? value : Bun.inspect(value))).join(" "));
  const ignore = (): void => undefined;
  const log: ServerLog = {
    trace: ignore,
    debug: ignore,
    info: ignore,
    warn: note,
    error: note,
    critical: note,
    withFields: () => log,
    withTag: () => log,
    bounded: (level) => log[level],
    flush: ignore,
    shows: () => false,
  };
  return log;
}
