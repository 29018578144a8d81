/** Reads the comment at the head of an example. It says what the module is, and has the commands that show it. */

const COMMAND = /^(?:hrmr|curl|printf|nc|openssl|redis-cli|npm) /;

/** The command behind each that adds a module, as the terminal shows it. */
export const RELOAD = "hrmr reload             # a running server takes it in";

/** @returns its lines without marks; prose begins a line, commands are indented */
function headComment(source: string): string[] {
  const comment = /\/\*[\s\S]*?\*\//.exec(source)?.[0] ?? "";
  return comment.split("\n").map((line) => line.replace(/^\s*\/?\*+(?:\/$)?\s?/, ""));
}

/** @returns the commands in the order in which to type them */
export function commandsIn(source: string): string[] {
  const indented = headComment(source).filter((line) => /^ {2,}\S/.test(line));
  return indented.map((line) => line.trim().replace(/^\$ /, "")).filter((line) => COMMAND.test(line));
}

/** @returns the first words up to a full stop or a colon: "A counter that all share" */
export function titleOf(source: string): string {
  const prose = headComment(source).join(" ").trim();
  return /^.*?(?=[.:](?:\s|$))/.exec(prose)?.[0].replaceAll(/\s+/g, " ") ?? "";
}
