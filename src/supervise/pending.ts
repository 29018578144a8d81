import type { Options } from "../config/options";
import type { ResolvedConfig } from "../config/resolved";
import { UserError } from "../config/user-error";
import type { ProcessSnapshot, Readiness, ServerInfo, ServerStatus } from "../observe/snapshot";

const pending = (): never => {
  throw new UserError("This is not there yet.", { code: "PENDING" });
};
export const effectiveConfig = (config: ResolvedConfig): unknown => config.options;
export const restartOnlyChanges = (_old: Options, _next: Options): string[] => [];
export const metricsText = (_info: ServerInfo, _snapshots: ProcessSnapshot[]): string => pending();
export const readinessOf = (_snapshots: ProcessSnapshot[]): Readiness => pending();
export const statusOf = (_info: ServerInfo, _snapshots: ProcessSnapshot[]): ServerStatus => pending();
export interface ApprovedModule {
  readonly name: string;
}
