/** Messages of a watch as JSON. */
import type { Told } from "./client-watch";

/** @param told with values that are JSON texts */
export function textOf(told: Told<string>): string {
  if (told.kind === "ready" || told.kind === "gone") return `{"kind":"${told.kind}","version":${told.version}}`;
  const { kind, key, value, version } = told;
  return `{"kind":"${kind}","key":${JSON.stringify(key)},"value":${value},"version":${version}}`;
}
