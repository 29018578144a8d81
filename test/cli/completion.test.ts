import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program, runProgram, type StartedProgram, startProgram } from "../support/program";
import { until } from "../support/until";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

/** A project with a running server, and `hrmr` on the PATH. */
let project: string;
let server: StartedProgram;
const scripts = new Map<Shell, string>();

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), "hrmr-completion-"));
  mkdirSync(join(project, "modules"));
  mkdirSync(join(project, "bin"));
  for (const name of ["greet", "guess", "other"]) {
    const text = `import { defineModule } from "hrmr";\nexport default defineModule({ routes: { "${name} ": () => "hi" } });\n`;
    writeFileSync(join(project, "modules", `${name}.ts`), text);
  }
  for (const name of ["on one.json", "once.json"]) writeFileSync(join(project, name), "{}");
  writeFileSync(join(project, "bin/hrmr"), `#!/bin/sh\nexec ${program().join(" ")} "$@"\n`);
  chmodSync(join(project, "bin/hrmr"), 0o755);
  for (const shell of SHELLS) {
    const { stdout } = await runProgram(["completion", shell]);
    scripts.set(shell, join(project, `script.${shell}`));
    writeFileSync(join(project, `script.${shell}`), stdout);
  }
  server = await startProgram(["start", "--port", "0"], { cwd: project });
});

afterAll(async () => {
  await server?.stop();
  rmSync(project, { recursive: true, force: true });
});

function environment(): Record<string, string | undefined> {
  return {
    ...process.env,
    PATH: `${join(project, "bin")}:${process.env["PATH"]}`,
    HOME: project,
    XDG_DATA_HOME: project,
    TERM: "dumb",
  };
}

async function run(command: string[], stdin: string): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: project,
    env: environment(),
    stdin: new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(stderr).toBe("");
  return stdout;
}

/** A typed line, and the words that are offered for its last word, in the order of the alphabet. */
type Case = readonly [typed: string, offered: readonly string[]];

const FILES = "completes files and folders";
const CASES: readonly (readonly [behaviour: string, cases: readonly Case[]])[] = [
  [
    "completes commands",
    [
      ["hrmr re", ["reload", "remove", "restart", "restore"]],
      ["hrmr comp", ["completion"]],
    ],
  ],
  [
    "completes the flags of the command, and of start without one",
    [
      ["hrmr stop --f", ["--force"]],
      ["hrmr start --log-f", ["--log-file", "--log-format"]],
      ["hrmr --log-f", ["--log-file", "--log-format"]],
      ["hrmr start --no-w", ["--no-watch"]],
    ],
  ],
  [
    "completes the values that a flag takes",
    [
      ["hrmr start --log-level ", ["critical", "debug", "error", "info", "trace", "warn"]],
      ["hrmr start -l w", ["warn"]],
      ["hrmr start --log-level=de", ["debug"]],
      ["hrmr start --port 80 --log-format t", ["text"]],
    ],
  ],
  ["completes keys of the config file behind --set", [["hrmr start --set limits.maxBodyB", ["limits.maxBodyBytes="]]]],
  [
    FILES,
    [
      // A name with a space is one name.
      ["hrmr start --config on", ["on one.json", "once.json"]],
      ["hrmr start --modules mod", ["modules"]],
    ],
  ],
  [
    "completes the arguments of help and completion",
    [
      ["hrmr help st", ["start", "status", "stop", "store"]],
      ["hrmr completion z", ["zsh"]],
    ],
  ],
  [
    "completes the running server's modules behind reload, several times",
    [
      ["hrmr reload g", ["greet", "guess"]],
      ["hrmr reload other gr", ["greet"]],
    ],
  ],
  ["offers nothing where anything may stand", [["hrmr start --port ", []]]],
];

const TYPED = CASES.flatMap(([, cases]) => cases.map(([typed]) => typed));

/** The shell's offers for each line, in their order. One shell for all of them, since its start is slow. */
const completers: Record<Shell, (lines: readonly string[]) => Promise<string[][]>> = {
  bash: async (lines) => {
    const asked = lines.map((line) => {
      // As readline hands them over: "=" parts words.
      const parted = line
        .split(" ")
        .flatMap((word) => (word.includes("=") ? word.split(/(=)/).filter((part) => part !== "") : [word]));
      const quoted = parted.map((word) => `'${word}'`).join(" ");
      return `COMP_WORDS=(${quoted})\nCOMP_CWORD=${parted.length - 1}\n_hrmr\nprintf '%s\\n' "\${COMPREPLY[@]}" '<END>'\n`;
    });
    return replies(await run(["bash", "--norc", "-s"], `source '${scripts.get("bash")}'\n${asked.join("")}`));
  },
  fish: async (lines) => {
    const asked = lines.map((line) => `complete -C "${line}"; echo '<END>'`).join("; ");
    const text = await run(["fish", "--no-config", "-c", `source '${scripts.get("fish")}'; ${asked}`], "");
    // A description follows behind a tab, and a whole flag is shown before its value.
    return replies(text).map((words) => words.map((line) => line.replace(/\t.*$/, "").replace(/^--[\w-]+=/, "")));
  },
  zsh: completeInZsh,
};

/** Lines up to each `<END>`. */
function replies(text: string): string[][] {
  const parts = text.split("<END>\n").slice(0, -1);
  return parts.map((part) => part.split("\n").filter((line) => line !== ""));
}

/**
 * zsh completes on a terminal only. There its `compadd`, which every completion goes through, is made to print what
 * matches.
 */
async function completeInZsh(lines: readonly string[]): Promise<string[][]> {
  let shown = "";
  const child = Bun.spawn(["zsh", "-f", "-i"], {
    cwd: project,
    env: environment(),
    terminal: {
      cols: 4000,
      rows: 100,
      data(_: unknown, bytes: Uint8Array) {
        shown += new TextDecoder().decode(bytes);
      },
    },
  });
  const setup = join(project, "setup.zsh");
  writeFileSync(
    setup,
    `PS1=; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit && compinit -u -D
source '${scripts.get("zsh")}'
compadd() {
  if [[ " $* " == *' -'[OAD]' '* ]]; then builtin compadd "$@"; return; fi
  local -a _found
  builtin compadd -A _found "$@"
  print -rl -- "<"\${^_found}">"
  builtin compadd "$@"
}
ask() { zle complete-word; zle kill-buffer; print -r -- "<""END>"; }
zle -N ask
bindkey '^I' ask
print -r -- "<""SET>"
`,
  );
  const offered: string[][] = [];
  try {
    child.terminal?.write(`source '${setup}'\r`);
    await until("zsh is set up", () => shown.includes("<SET>"));
    for (const line of lines) {
      shown = "";
      child.terminal?.write(`${line}\t`);
      await until(`zsh has completed ${line}`, () => shown.includes("<END>"));
      const found = [...shown.matchAll(/<([^<>\r\n]*)>/g)].map((match) => match[1] ?? "");
      // It tries several ways to complete, which may find the same.
      offered.push([...new Set(found)].filter((word) => word !== "" && word !== "END"));
    }
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  return offered;
}

for (const shell of SHELLS) {
  const isMissing = Bun.which(shell) === null;
  describe.skipIf(isMissing)(`${shell}${isMissing ? " (is not installed)" : ""}`, () => {
    const offers = new Map<string, string[]>();
    beforeAll(async () => {
      const offered = await completers[shell](TYPED);
      expect(offered).toHaveLength(TYPED.length);
      TYPED.forEach((typed, at) => offers.set(typed, offered[at] ?? []));
    });

    test.each(CASES)("%s", (behaviour, cases) => {
      // Shells escape the space in a file's name, and end a folder's name, each in its way.
      const plain = (word: string) => (behaviour === FILES ? word.replace("\\ ", " ").replace(/\/$/, "") : word);
      for (const [typed, offered] of cases) {
        expect([typed, offers.get(typed)?.map(plain).sort()]).toEqual([typed, [...offered]]);
      }
    });
  });
}

test("a shell that is not known is wrong usage", async () => {
  const { exitCode, stdout, stderr } = await runProgram(["completion", "fisch"]);
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 2,
    stdout: "",
    stderr: 'hrmr completion has no script for "fisch".\nDid you mean fish?\n',
  });
});
