/**
 * A new configuration for a running server: what can change takes its place in the objects that everybody reads from.
 */
import type { Options } from "../config/options";

/**
 * Puts what a reload may change into `options`, in place. What needs a restart is left as it is: whoever asks for the
 * reload has refused it (`restartOnlyChanges` of the configuration).
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
