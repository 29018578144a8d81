/** `hrmr validate`: checks what `hrmr start` with the same flags would do, without starting. */
import { defineCommand } from "citty";
import { UserError } from "../../config/user-error";
import { type Finding, Findings, type FindingState } from "../../supervise/preflight/findings";
import { onStray } from "../fail";
import { type Flags, switchFlag } from "../flags";
import { readStartFlags, START_ARGS } from "../start/flags";
import { resolveConfig } from "../start/options";
import {
  cleanText,
  type Colour,
  fitText,
  lineWidth,
  type Paint,
  paintFor,
  plural,
  printJson,
  wrap,
} from "../screen/terminal";

const { daemonize: _, ...CONFIG_ARGS } = START_ARGS;

const args = {
  ...CONFIG_ARGS,
  json: switchFlag("Print JSON: all findings, and how many of them are mistakes"),
} as const satisfies Flags;

/** Texts stand below their checks if they would have less room than this behind them. In columns. */
const MIN_TEXT_WIDTH = 30;
const COLOURS: Record<FindingState, Colour> = { ok: "green", warning: "yellow", error: "red" };
const STATE_WIDTH = "warning".length;
/** 128 and the signal's number, like a shell. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export const validateCommand = defineCommand({
  meta: { name: "validate", description: "Check what start would do, with every mistake at once, without starting" },
  args,
  async run({ args: { json, ...flags }, rawArgs }) {
    endTidily();
    const findings = await validate(readStartFlags(flags, rawArgs));
    const [errors, warnings] = [findings.count("error"), findings.count("warning")];
    if (json === true) printJson({ ok: errors === 0, errors, warnings, findings: findings.list });
    else
      console.log(
        [
          ...findingLines(findings.list, lineWidth(), paintFor(process.stdout)),
          `${plural(errors, "error")}, ${plural(warnings, "warning")}`,
        ].join("\n"),
      );
    return errors === 0 ? 0 : 1;
  },
});

/** @throws UserError for unknown flags and variables: wrong usage, exit code 2 */
async function validate(flags: Parameters<typeof resolveConfig>[0]): Promise<Findings> {
  try {
    const config = await resolveConfig(flags, process.env, process.cwd());
    const { preflight } = await import("../../supervise/preflight/index");
    return await preflight(config, process.env);
  } catch (error) {
    if (!(error instanceof UserError) || error.exitCode === 2) throw error;
    const findings = new Findings();
    findings.error("configuration", {
      message: error.message,
      code: error.code,
      hint: "Nothing else was checked so far.",
    });
    return findings;
  }
}

/** Ends the process: resources of the modules must not outlive it, and their late errors are not hrmr's. */
function endTidily(): void {
  for (const [signal, exitCode] of Object.entries(EXIT_CODES)) process.on(signal, () => process.exit(exitCode));
  onStray((error) => console.error("a module threw an error that nobody caught:", error));
}

/**
 * A finding begins a line; its further lines are indented below.
 *
 * @param width of a line, in columns of the terminal. Infinity: lines are not broken. Code in a finding is never broken
 */
export function findingLines(list: readonly Finding[], width: number, paint: Paint): string[] {
  const checkWidth = Math.max(...list.map(({ check }) => check.length));
  const indent = " ".repeat(STATE_WIDTH + 2);
  const isNarrow = width < indent.length + checkWidth + 2 + MIN_TEXT_WIDTH;
  const textIndent = isNarrow ? indent : indent + " ".repeat(checkWidth + 2);
  return list.flatMap(({ check, state, text, hint }) => {
    const [first = "", ...rest] = cleanText(text).trimEnd().split("\n");
    const [head = "", ...tail] = [...(isNarrow ? [""] : []), ...wrap(first, width - textIndent.length)];
    return [
      `${paint(state.padEnd(STATE_WIDTH), COLOURS[state])}  ${check.padEnd(checkWidth)}  ${head}`.trimEnd(),
      ...tail.map((line) => `${textIndent}${line}`),
      ...[...rest, ...(hint === "" ? [] : [hint])].map((line) => fitText(`${indent}${line}`, width, 0)),
    ];
  });
}
