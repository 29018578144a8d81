/** `modules.store` of hrmr.json. index.ts explains the settings. */
import { objectOf, schemaOf } from "./schema";

export interface Settings {
  /** Whether clients of Redis are served. */
  readonly resp: boolean;
  /** Whether /store is, with its watches as server-sent events. */
  readonly http: boolean;
  /** Whether clients may call the procedures `store.*`. */
  readonly rpc: boolean;
  /** Whether AI agents may. */
  readonly mcp: boolean;
  /** How often a silent stream of events gets a comment, so that a lost client is noticed. */
  readonly heartbeatMs: number;
}

export const SETTINGS = schemaOf<Settings>(
  objectOf({
    resp: { type: "boolean", default: true },
    http: { type: "boolean", default: true },
    rpc: { type: "boolean", default: true },
    mcp: { type: "boolean", default: false },
    heartbeatMs: { type: "number", minimum: 10, maximum: 3_600_000, default: 15_000 },
  }),
);
