/** The text of an error, as a verdict and the log tell it. */
import { describeError, ModuleError } from "../../module/graph/describe-error";

/** @param error any value that was thrown. @returns its message, with the hint or the place in the author's file */
export function describeFailure(error: unknown): string {
  if (error instanceof ModuleError || !(error instanceof Error)) return describeError(error);
  return "hint" in error && typeof error.hint === "string" ? `${error.message}\n${error.hint}` : describeError(error);
}
