/** Commands whose first argument is a command: CLIENT ID, CONFIG GET. */
import type { Call, Run } from "../call";
import { fail, wrongArity } from "../errors";

/** The arity counts both words. Below 0: at least so many. */
type Subcommand = readonly [arity: number, run: Run];

/** @param name of the command, in lower case */
export function subcommands(name: string, known: Readonly<Record<string, Subcommand>>): Run {
  return (call: Call) => {
    const word = call.args.latin1(1).toLowerCase();
    if (!Object.hasOwn(known, word))
      fail(`ERR unknown subcommand '${call.args.utf8(1).slice(0, 128)}'. Try ${name.toUpperCase()} HELP.`);
    const [arity, run] = known[word] as Subcommand;
    if (!fits(call.args.length, arity)) fail(wrongArity(`${name}|${word}`));
    return run(call);
  };
}

/** @param arity with the name. Below 0: at least so many */
export function fits(count: number, arity: number): boolean {
  return arity < 0 ? count >= -arity : count === arity;
}
