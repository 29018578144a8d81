/**
 * The configuration of a server: defaults, config file, environment and flags put together.
 */
import type { Options } from "./options";

export interface ResolvedConfig {
  readonly options: Options;
  /** The config file's absolute path; null: there is none. */
  readonly file: string | null;
  /** By key, "limits.maxBodyBytes": "default", "hrmr.json:12", "HRMR_PORT" or "--port". */
  readonly origins: ReadonlyMap<string, string>;
  /** What is odd and no mistake, a line each. */
  readonly notes: readonly string[];
}
