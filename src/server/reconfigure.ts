/** Applies a new configuration to a running server: changes the shared option objects in place. */
import type { Options } from "../config/options";

/**
 * Writes the keys that a reload may change into `options`, in place. Keys that need a restart stay: the caller has
 * refused such changes (`restartOnlyChanges` of the configuration).
 */
export function applyOptions(options: Options, next: Options): void {
  Object.assign(options.limits, next.limits);
  Object.assign(options.timeouts, next.timeouts);
  Object.assign(options.http, next.http);
  Object.assign(options.log, next.log);
  Object.assign(options.tls, next.tls);
  Object.assign(options.versions, next.versions);
  const { commands, tokenFile, maxUploadBytes, maxUploadFiles } = next.control;
  Object.assign(options.control, { commands, tokenFile, maxUploadBytes, maxUploadFiles });
  options.watch = next.watch;
  for (const name of Object.keys(options.modules)) delete options.modules[name];
  Object.assign(options.modules, next.modules);
}
