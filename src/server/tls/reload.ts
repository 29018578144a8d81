/**
 * The certificates' part of a reload.
 */
import { UserError } from "../../config/user-error";
import type { CertificateOutcome } from "../../reload/verdict/outcome";
import type { TlsContexts } from "./contexts";

/** Reads the certificates anew. The old ones stay in use when the new ones cannot be. Never throws. */
export function reloadCertificates(tls: TlsContexts): CertificateOutcome {
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
