/**
 * What `hrmr validate` has found, check by check.
 */
import { UserError } from "../../config/user-error";

export type FindingState = "ok" | "warning" | "error";

export interface Finding {
  /** The checked thing: "configuration", "listener tcp://127.0.0.1:8080", "module greet". */
  readonly check: string;
  readonly state: FindingState;
  /** What is, or what is wrong. May have several lines. */
  readonly text: string;
  /** What to do about it; "": nothing, or it is said already. */
  readonly hint: string;
  /** Of an error: as in docs/errors.md. */
  readonly code: string | null;
}

/** Collects findings: one mistake does not keep the next one from being found. */
export class Findings {
  readonly list: Finding[] = [];

  ok(check: string, text: string): void {
    this.list.push({ check, state: "ok", text, hint: "", code: null });
  }

  warn(check: string, text: string, hint = ""): void {
    this.list.push({ check, state: "warning", text, hint, code: null });
  }

  error(
    check: string,
    { message, hint = "", code }: Pick<UserError, "message" | "code"> & { readonly hint?: string | undefined },
  ): void {
    this.list.push({ check, state: "error", text: message, hint, code });
  }

  /**
   * @param look  its answer is the text of what is in order; "": there is nothing to be said. A UserError becomes a
   *   finding.
   * @returns whether it was in order
   */
  async look(check: string, look: () => string | Promise<string>): Promise<boolean> {
    try {
      const text = await look();
      if (text !== "") this.ok(check, text);
      return true;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.error(check, error);
      return false;
    }
  }

  count(state: FindingState): number {
    return this.list.filter((finding) => finding.state === state).length;
  }
}
