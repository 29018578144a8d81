/** `modules.store` of hrmr.json. index.ts explains the settings. */
import { objectOf, schemaOf } from "./schema";

export interface Settings {
  /** Whether clients of Redis are served. */
  readonly resp: boolean;
  /** Whether /store is, with its watches as server-sent events. */
  readonly http: boolean;
  /** How often a silent stream of events gets a comment, so that a lost client is noticed. */
  readonly heartbeatMs: number;
}

export const SETTINGS = schemaOf<Settings>(
  objectOf({
    resp: { type: "boolean", default: true },
    http: { type: "boolean", default: true },
    heartbeatMs: { type: "number", minimum: 10, maximum: 3_600_000, default: 15_000 },
  }),
);
