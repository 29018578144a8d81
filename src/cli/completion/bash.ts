import type { CompletionCommand, CompletionFlag, Offer } from "./offers";

/** The completion for bash 4 and later. */
export function bashScript(commands: readonly CompletionCommand[]): string {
  return `# hrmr's completion for bash 4 and later.
# Once:    eval "$(hrmr completion bash)"
# Always:  hrmr completion bash > ~/.local/share/bash-completion/completions/hrmr

_hrmr_modules() {
  "$1" modules --json 2>/dev/null | grep -oE '"name": *"[A-Za-z0-9_.-]+"' | sed 's/.*"\\(.*\\)"/\\1/'
}

# _hrmr_offer KIND [WORD...]: fills COMPREPLY with what begins like "$cur".
_hrmr_offer() {
  local kind=$1
  shift
  case $kind in
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    dir) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    open) compopt -o nospace 2>/dev/null; mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur") ;;
    words) mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur") ;;
    modules) mapfile -t COMPREPLY < <(compgen -W "$(_hrmr_modules "\${COMP_WORDS[0]}")" -- "$cur") ;;
  esac
}

_hrmr() {
  local cur=\${COMP_WORDS[COMP_CWORD]} command=start flags='' valued='' flag='' args=0 at=1 word
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 && $cur != -* ]]; then
    _hrmr_offer words ${commands.map(({ name }) => name).join(" ")}
    return
  fi
  if [[ \${COMP_WORDS[1]} != -* ]]; then
    command=\${COMP_WORDS[1]}
    at=2
  fi
  case $command in
${commands.map(flagLine).join("\n")}
    *) return ;;
  esac
  # "--flag=value" comes in three words.
  for ((; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    if [[ $word == -* && $valued == *" $word "* ]]; then
      flag=$word
      [[ \${COMP_WORDS[at + 1]} == = ]] && ((at++))
      ((++at < COMP_CWORD)) && flag=''
    elif [[ $word != -* ]]; then
      ((args++))
    fi
  done
  [[ $cur == = ]] && cur=''
  if [[ -n $flag ]]; then
    case "$command $flag" in
${commands.flatMap(valueLines).join("\n")}
    esac
  elif [[ $cur == -* ]]; then
    _hrmr_offer words "$flags"
  else
    case "$command $args" in
${commands.flatMap(argumentLines).join("\n")}
    esac
  fi
}

complete -F _hrmr hrmr
`;
}

function spellings({ name, short }: CompletionFlag): string[] {
  return short === null ? [`--${name}`] : [`--${name}`, `-${short}`];
}

function flagLine({ name, flags }: CompletionCommand): string {
  const long = flags.map((flag) => `--${flag.name}`).join(" ");
  const valued = flags.filter(({ value }) => value !== null).flatMap(spellings);
  return `    ${name}) flags='${long}' valued=' ${valued.join(" ")} ' ;;`;
}

function valueLines(command: CompletionCommand): string[] {
  return command.flags.flatMap((flag) => {
    const action = flag.value === null ? null : offer(flag.value);
    const patterns = spellings(flag).map((spelling) => `"${command.name} ${spelling}"`);
    return action === null ? [] : [`      ${patterns.join(" | ")}) ${action} ;;`];
  });
}

function argumentLines({ name, args }: CompletionCommand): string[] {
  return args.flatMap((argument, at) => {
    const action = offer(argument);
    return action === null ? [] : [`      "${name} "${argument.canRepeat ? "*" : at}) ${action} ;;`];
  });
}

/** @returns null: nothing to offer */
function offer(what: Offer): string | null {
  if (what.kind === "any") return null;
  if (what.kind !== "words") return `_hrmr_offer ${what.kind}`;
  return `_hrmr_offer ${what.isOpen === true ? "open" : "words"} ${what.words.join(" ")}`;
}
