/** `modules.store` of hrmr.json. index.ts explains the settings. */
import { objectOf, schemaOf } from "./schema";

export interface Settings {
  /** Whether clients of Redis are served. */
  readonly resp: boolean;
  /** Whether /store is, with its watches as server-sent events. */
  readonly http: boolean;
}

export const SETTINGS = schemaOf<Settings>(
  objectOf({
    resp: { type: "boolean", default: true },
    http: { type: "boolean", default: true },
  }),
);
