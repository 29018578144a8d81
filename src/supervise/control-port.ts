/** The control port (`control.listen`), as the master opens it and tells of it. */
import type { ResolvedConfig } from "../config/resolve/resolved";
import type { ControlApi } from "../control/api";
import { ControlPort } from "../control/tcp";
import type { ProcessLog } from "../observe/log/log";
import type { StartSummary } from "./serve/group";

/** @param isTakeover  the old process still listens there */
export async function openControlPort(
  { config, log }: { readonly config: ResolvedConfig; readonly log: ProcessLog },
  isTakeover: boolean,
  api: ControlApi,
): Promise<ControlPort | null> {
  const { control, tls } = config.options;
  if (control.listen === null || control.tokenFile === null) return null;
  return await ControlPort.open({ url: control.listen, tokenFile: control.tokenFile, tls, isTakeover, api, log });
}

/** Adds a note on the control port for the person who starts the server. */
export function withControlPort(summary: StartSummary, port: ControlPort | null): StartSummary {
  if (port === null) return summary;
  const risk = port.isRisky ? ", without TLS: others on the network can read the token" : "";
  return { ...summary, notes: [...summary.notes, `control on ${port.url} for holders of the token${risk}`] };
}
