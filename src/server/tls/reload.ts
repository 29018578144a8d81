/**
 * The certificates' part of a reload.
 */
import type { TlsOptions } from "../../config/options";
import { UserError } from "../../config/user-error";
import type { CertificateOutcome } from "../../reload/verdict/outcome";
import { TlsContexts } from "./contexts";

/**
 * Reads the certificates anew, or takes over other settings. The old ones stay in use when the new ones cannot be.
 *
 * @param home     whose `tls` is replaced when the settings are others
 * @param before   the settings so far
 * @param listening  the URLs of the open listeners
 * @returns null without any certificates
 */
export async function reloadTls(
  home: { tls: TlsContexts | null },
  settings: TlsOptions,
  before: TlsOptions,
  listening: readonly string[],
): Promise<CertificateOutcome | null> {
  const { tls } = home;
  if (tls !== null && Bun.deepEquals(settings, before)) return readAnew(tls);
  if (tls === null && settings.certFile === null) return null;
  // Listeners that take TLS only would be mute without.
  if (settings.certFile === null && listening.some((url) => url.startsWith("tls:"))) {
    return {
      error: "there are none any more, and a tls:// listener needs one",
      hint: "Name them in tls.certFile and tls.keyFile.",
    };
  }
  try {
    home.tls = await TlsContexts.load({ ...settings });
    return "reloaded";
  } catch (error) {
    if (error instanceof UserError) return { error: error.message, hint: error.hint ?? "" };
    throw error;
  }
}

/** Never throws. */
function readAnew(tls: TlsContexts): CertificateOutcome {
  try {
    return tls.reload() ? "reloaded" : "unchanged";
  } catch (error) {
    // A file that is being replaced can be anything for an instant; what no UserError tells is a bug, and still no
    // reason to stop.
    return error instanceof UserError
      ? { error: error.message, hint: error.hint ?? "" }
      : { error: String(error), hint: "" };
  }
}
