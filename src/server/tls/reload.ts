/**
 * The certificates' part of a reload.
 */
import type { TlsOptions } from "../../config/options";
import { type PartOutcome, partOutcome } from "../../reload/verdict/report";
import { TlsContexts } from "./contexts";

/**
 * Reads the certificates again, or takes over other settings. The old ones stay in use if the new ones are bad.
 *
 * @param owner its `tls` is replaced if the settings have changed
 * @param before   the settings so far
 * @param listening  the URLs of the open listeners
 * @returns null without any certificates
 */
export async function reloadTls(
  owner: { tls: TlsContexts | null },
  settings: TlsOptions,
  before: TlsOptions,
  listening: readonly string[],
): Promise<PartOutcome | null> {
  const { tls } = owner;
  if (tls !== null && Bun.deepEquals(settings, before)) return await partOutcome(() => tls.reload());
  if (tls === null && settings.certFile === null) return null;
  // Listeners that take only TLS would be useless without.
  if (settings.certFile === null && listening.some((url) => url.startsWith("tls:"))) {
    return {
      error: "there are none any more, and a tls:// listener needs one",
      hint: "Name them in tls.certFile and tls.keyFile.",
    };
  }
  return await partOutcome(async () => {
    owner.tls = await TlsContexts.load({ ...settings });
    return true;
  });
}
