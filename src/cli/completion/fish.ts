import type { CompletionCommand, CompletionFlag, Offer } from "./offers";

/** The completion for fish: one line for each flag. */
export function fishScript(commands: readonly CompletionCommand[]): string {
  return `# hrmr's completion for fish.
# Once:    hrmr completion fish | source
# Always:  hrmr completion fish > ~/.config/fish/completions/hrmr.fish

# The words before the one that is being typed, without hrmr itself.
function __hrmr_words
  set -l words (commandline -opc)
  set -e words[1]
  string join \\n -- $words
end

function __hrmr_needs_command
  test (count (__hrmr_words)) -eq 0
end

# Whether the command line is that of the command $argv. Flags alone are those of start.
function __hrmr_is
  set -l words (__hrmr_words)
  if test (count $words) -eq 0; or string match -q -- '-*' $words[1]
    test $argv[1] = start
  else
    test $argv[1] = $words[1]
  end
end

function __hrmr_modules
  set -l words (commandline -opc)
  $words[1] modules --json 2>/dev/null | string match -arg '"name": *"([A-Za-z0-9_.-]+)"'
end

complete -c hrmr -f
${commands.flatMap(commandLines).join("\n")}
`;
}

function commandLines({ name, description, flags, args }: CompletionCommand): string[] {
  const condition = `-n '__hrmr_is ${name}'`;
  // Only behind a command's name: otherwise it would offer arguments in place of the name.
  const argumentsCondition = `-n 'not __hrmr_needs_command; and __hrmr_is ${name}'`;
  return [
    `complete -c hrmr -n __hrmr_needs_command -a ${name} -d ${quote(description)}`,
    ...flags.map((flag) => `complete -c hrmr ${condition} ${flagWords(flag)}`),
    ...args
      .filter(({ kind }) => kind !== "any")
      .map((argument) => `complete -c hrmr ${argumentsCondition} ${offer(argument)}`),
  ];
}

function flagWords({ name, short, description, value }: CompletionFlag): string {
  const spelled = `-l ${name}${short === null ? "" : ` -s ${short}`}`;
  return `${spelled} ${value === null ? "" : `-r ${offer(value)} `}-d ${quote(description)}`;
}

const OFFERS = {
  any: "-f",
  file: "-F",
  dir: "-f -a '(__fish_complete_directories)'",
  modules: "-f -a '(__hrmr_modules)'",
};

function offer(what: Offer): string {
  return what.kind === "words" ? `-f -a ${quote(what.words.join(" "))}` : OFFERS[what.kind];
}

function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
