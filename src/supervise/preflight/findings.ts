/** The findings of `hrmr validate`, check by check. */
import { UserError } from "../../config/user-error";

export type FindingState = "ok" | "warning" | "error";

export interface Finding {
  /** The checked thing: "configuration", "listener tcp://127.0.0.1:8080", "module greet". */
  readonly check: string;
  readonly state: FindingState;
  /** The state, or the mistake. May have several lines. */
  readonly text: string;
  /** The advice; "": none, or the text has it. */
  readonly hint: string;
  /** The code of an error, as in docs/errors.md. */
  readonly code: string | null;
}

/** Collects findings: after a mistake, the next checks still run. */
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
   * @param look its answer is the text of a good finding; "": no finding. A UserError becomes a finding.
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
