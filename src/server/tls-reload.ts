/**
 * The certificates' part of a reload's verdict.
 */
import { UserError } from "../config/user-error";
import type { TlsContexts } from "./tls-contexts";

interface Told {
  readonly ok: boolean;
  /** First word OK or ERR, then a line a module; ends with a line end. */
  readonly text: string;
}

/** Reloads the certificates. @returns the verdict about the modules, with a line more if there is something to tell */
export function withCertificates(modules: Told, tls: TlsContexts): Told {
  try {
    return tls.reload() ? { ok: modules.ok, text: `${modules.text}  certificates reloaded\n` } : modules;
  } catch (error) {
    // A file that is being replaced can be anything for an instant; what no UserError tells is a bug, and still no reason to stop.
    const [reason, hint] = error instanceof UserError ? [error.message, error.hint ?? ""] : [String(error), ""];
    const lines = [`ERR certificates were not reloaded: ${reason}`, `    The old ones stay in use. ${hint}`.trimEnd()];
    return { ok: false, text: `${lines.join("\n")}\n${modules.text.replace(/^(?=.)/gm, "  ")}` };
  }
}
