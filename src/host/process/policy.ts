/**
 * The policy of a module's process: each unexpected end is the module's crash, and in quarantine there is no process.
 */
import type { Log } from "../../module/contract";
import type { LoadSpec } from "../../module/version";
import { boundedWith } from "../../observe/log/fields";
import type { OpenPlace } from "../remote/place";
import type { HostPolicy } from "../remote/policy";

/**
 * @param log with the module's fields
 * @param onRestored as for `Processes`
 */
export function processPolicy(
  { name }: LoadSpec,
  open: OpenPlace,
  log: Log,
  onRestored: (id: number) => void,
): HostPolicy {
  const own = `The process of module "${name}"`;
  return {
    count: 1,
    open,
    isTrusted: false,
    texts: { name: own, cure: "raise limits.maxQueued", gone: "has no process any more", closed: `${own} is closed.` },
    nameOf: () => own,
    lost: (reason, _index, _suspect, [only = null]) => {
      const text = `its process was lost: ${reason}`;
      boundedWith(log, {}, "warn", text)?.(text);
      return only;
    },
    startsAnew: (isShutOut) => !isShutOut,
    tryAgain: (places) => {
      for (const place of places) place.resume();
      return false;
    },
    restored: (id, quarantine) => {
      quarantine.lift(id);
      onRestored(id);
    },
    notRestored: ({ id }, error, place) => place.giveUp(id, `it could not be loaded again: ${error.message}`),
  };
}
