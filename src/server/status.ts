/** The answers of STATUS and HELP. */
import { statusOf } from "../observe/report";
import type { ProcessSnapshot, ServerInfo } from "../observe/snapshot";
import type { BoundRoute } from "../module/route";
import type { Dispatch } from "../protocol/wire";
import { escapeBytes } from "../router/escape";

/** @returns STATUS's answer: a ServerStatus as JSON, indented, with a line end */
export function statusText(info: ServerInfo, processes: readonly ProcessSnapshot[]): string {
  return `${JSON.stringify(statusOf(info, processes), null, 2)}\n`;
}

/** @returns HELP's answer: a line for each route, with its module and description */
export function helpText(dispatch: Dispatch): string {
  // Commands that are off have no description, and stay hidden.
  const entries = dispatch.routing.table.entries.filter(
    ({ value }) => value.kind !== "command" || value.description !== "",
  );
  const rows = entries.map(({ value }) => [shownKey(value), value.module, shownText(value)]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const lines = rows.map(([key, module, text]) =>
    `${(key as string).padEnd(widths[0] as number)}  ${(module as string).padEnd(widths[1] as number)}  ${text}`.trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

function shownText({ description, takesHttp }: BoundRoute): string {
  return takesHttp === true ? `${description} (takes HTTP requests)`.trimStart() : description;
}

function shownKey(route: BoundRoute): string {
  return `"${escapeBytes(Buffer.from(route.key), 64)}"`;
}
