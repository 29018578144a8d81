/**
 * From modules to a routing table: built-in commands first, then modules in order of precedence.
 */
import { displayPath } from "../module/describe-error";
import type { RegistryOptions, RoutePlan } from "../module/registry";
import type { BoundRoute } from "../module/route";
import { SocketHub } from "../protocol/websocket/hub";
import type { Dispatch } from "../protocol/wire";
import { describeKey, RouteTable, type Conflict, type TableEntry } from "../router/table";

type Planned = Parameters<RegistryOptions["plan"]>[0];

/**
 * Builds the next table without touching the one in use.
 *
 * @param modules in order of precedence; of two that claim the same, the later one is refused, a module that is on only
 *                by default without a word
 */
export function planRoutes(dispatch: Dispatch, commands: readonly BoundRoute[], modules: Planned): RoutePlan {
  const entries: TableEntry<BoundRoute>[] = commands.map((value) => ({
    key: value.key,
    kind: "word",
    owner: "hrmr",
    file: "built in",
    value,
  }));
  const implicit = new Set<string>();
  for (const module of modules) {
    if (module.isImplicit) implicit.add(module.name);
    for (const value of module.routes) {
      entries.push({ key: value.key, kind: isHttp(value) ? "http" : "raw", owner: module.name, file: module.source, value });
    }
  }
  const { table, conflicts } = RouteTable.build(entries);
  return {
    conflicts: conflicts
      .filter(({ refused }) => !implicit.has(refused.owner))
      .map((conflict) => ({ module: conflict.refused.owner, text: conflictText(conflict) })),
    commit: () => {
      dispatch.table = table;
      SocketHub.of(dispatch).follow(table);
    },
  };
}

function isHttp({ kind }: BoundRoute): boolean {
  return kind === "fetch" || kind === "websocket";
}

function conflictText({ refused, holder }: Conflict<BoundRoute>): string {
  if (holder.kind === "word")
    return `${displayPath(refused.file)} claims ${describeKey(refused)}, which is a built-in command. Choose another key.`;
  const file = displayPath(refused.file);
  if (holder.owner === refused.owner)
    return `${file} has ${describeKey(refused)} twice (as ${JSON.stringify(holder.key)} too). Remove one.`;
  return `${file} claims ${describeKey(refused)}, which ${displayPath(holder.file)} has already. Give one of them another key.`;
}
