/** Reads and checks `modules.store` of hrmr.json. index.ts lists all settings. */

export interface Settings {
  /** Whether clients of Redis are served. */
  readonly resp: boolean;
}

const KEYS = ["resp"];
/** The server's own settings of a module. */
const SERVERS = ["enabled", "run", "timeouts", "limits", "reload", "drainMs", "maxMemoryMb"];

/** @throws Error that names the setting and shows a right value */
export function readSettings(config: Record<string, unknown>): Settings {
  const unknown = Object.keys(config).find((key) => !KEYS.includes(key) && !SERVERS.includes(key));
  if (unknown !== undefined)
    throw new Error(`modules.store.${unknown} is not a setting. Use one of ${KEYS.join(", ")}.`);
  const { resp = true } = config;
  if (typeof resp !== "boolean")
    throw new Error(`modules.store.resp is not true or false: ${JSON.stringify(resp)}.\nGive it as false.`);
  return { resp };
}
