import type { CompletionCommand, CompletionFlag, Offer } from "./offers";

/** The completion for zsh, whose `_arguments` handles flags and values. */
export function zshScript(commands: readonly CompletionCommand[]): string {
  return `#compdef hrmr
# hrmr's completion for zsh.
# Once:    source <(hrmr completion zsh)          (behind compinit)
# Always:  hrmr completion zsh > a folder of $fpath, as _hrmr

_hrmr_modules() {
  local -a names
  names=(\${(f)"$(_call_program modules \${(q)_hrmr_program} modules --json 2>/dev/null | grep -oE '"name": *"[A-Za-z0-9_.-]+"' | sed 's/.*"\\(.*\\)"/\\1/')"})
  _describe -t modules module names
}

_hrmr() {
  local _hrmr_program=$words[1] command=start
  local -a commands=(
${commands.map(({ name, description }) => `    ${quote(`${name}:${description}`)}`).join("\n")}
  )
  if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then
    _describe -t commands 'hrmr command' commands
    return
  fi
  if [[ $words[2] != -* ]]; then
    command=$words[2]
    shift words
    ((CURRENT--))
  fi
  case $command in
${commands.map(commandCase).join("\n")}
  esac
}

# Autoloaded, the file is the function's body; sourced, it tells zsh whose completion it is.
if [[ $funcstack[1] == _hrmr ]]; then
  _hrmr "$@"
else
  compdef _hrmr hrmr
fi
`;
}

function commandCase({ name, flags, args }: CompletionCommand): string {
  const specs = [...flags.map(flagSpec), ...args.map((argument, at) => quote(argumentSpec(argument, at)))];
  if (specs.length === 0) return `    ${name}) _message 'no arguments' ;;`;
  return `    ${name})\n      _arguments -S \\\n${specs.map((spec) => `        ${spec}`).join(" \\\n")}\n      ;;`;
}

/** `'(-p --port)'{-p+,--port=}'[TCP port]:number:'`; with only one spelling, without the list of exclusions. */
function flagSpec({ name, short, description, canRepeat, value }: CompletionFlag): string {
  const long = `--${name}${value === null ? "" : "="}`;
  const rest = `[${description.replaceAll(/[\\\]]/g, "\\$&")}]${value === null ? "" : action(value, "value")}`;
  if (short === null) return quote(`${canRepeat ? "*" : ""}${long}${rest}`);
  const before = canRepeat ? "*" : `(-${short} --${name})`;
  return `${quote(before)}{-${short}${value === null ? "" : "+"},${long}}${quote(rest)}`;
}

function argumentSpec(argument: CompletionCommand["args"][number], at: number): string {
  return `${argument.canRepeat ? "*" : at + 1}${action(argument, argument.name)}`;
}

const ACTIONS = { file: ":file:_files", dir: ":folder:_files -/", modules: ":module:_hrmr_modules" };

function action(what: Offer, name: string): string {
  if (what.kind === "any") return `:${name}: `;
  if (what.kind !== "words") return ACTIONS[what.kind];
  const words = what.words.join(" ");
  return what.isOpen === true ? `:${name}:compadd -S "" -- ${words}` : `:${name}:(${words})`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
