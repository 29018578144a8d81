import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program, runProgram, type StartedProgram, startProgram } from "./support/program";
import { until } from "./support/until";

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

/** What the shell offers where the cursor is behind `words`; the last one is being typed. */
const completers: Record<Shell, (words: string[]) => Promise<string[]>> = {
  bash: async (words) => {
    // As readline hands them over: "=" parts words.
    const parted = words.flatMap((word) =>
      word.includes("=") ? word.split(/(=)/).filter((part) => part !== "") : [word],
    );
    const quoted = parted.map((word) => `'${word}'`).join(" ");
    const script = `source '${scripts.get("bash")}'\nCOMP_WORDS=(${quoted})\nCOMP_CWORD=${parted.length - 1}\n_hrmr\nprintf '%s\\n' "\${COMPREPLY[@]}"\n`;
    return linesOf(await run(["bash", "--norc", "-s"], script));
  },
  fish: async (words) => {
    const text = await run(
      ["fish", "--no-config", "-c", `source '${scripts.get("fish")}'; complete -C "${words.join(" ")}"`],
      "",
    );
    // A description follows behind a tab, and a whole flag is shown before its value.
    return linesOf(text).map((line) => line.replace(/\t.*$/, "").replace(/^--[\w-]+=/, ""));
  },
  zsh: completeInZsh,
};

function linesOf(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}

/**
 * zsh completes on a terminal only. There its `compadd`, which every completion goes through, is made to print what
 * matches.
 */
async function completeInZsh(words: string[]): Promise<string[]> {
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
  try {
    child.terminal?.write(`source '${setup}'\r`);
    await until("zsh is set up", () => shown.includes("<SET>"));
    shown = "";
    child.terminal?.write(`${words.join(" ")}\t`);
    await until("zsh has completed", () => shown.includes("<END>"));
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  const found = [...shown.matchAll(/<([^<>\r\n]*)>/g)].map((match) => match[1] ?? "");
  // It tries several ways to complete, which may find the same.
  return [...new Set(found)].filter((word) => word !== "" && word !== "END").sort();
}

for (const shell of SHELLS) {
  const isMissing = Bun.which(shell) === null;
  describe.skipIf(isMissing)(`${shell}${isMissing ? " (is not installed)" : ""}`, () => {
    const complete = (line: string) => completers[shell](line.split(" "));

    test("completes commands", async () => {
      expect(await complete("hrmr re")).toEqual(["reload", "remove", "restart"]);
      expect(await complete("hrmr comp")).toEqual(["completion"]);
    });

    test("completes the flags of the command, and of start without one", async () => {
      expect(await complete("hrmr stop --f")).toEqual(["--force"]);
      expect(await complete("hrmr start --log-f")).toEqual(["--log-file", "--log-format"]);
      expect(await complete("hrmr --log-f")).toEqual(["--log-file", "--log-format"]);
      expect(await complete("hrmr start --no-w")).toEqual(["--no-watch"]);
    });

    test("completes the values that a flag takes", async () => {
      expect(await complete("hrmr start --log-level ")).toEqual([
        "critical",
        "debug",
        "error",
        "info",
        "trace",
        "warn",
      ]);
      expect(await complete("hrmr start -l w")).toEqual(["warn"]);
      expect(await complete("hrmr start --log-level=de")).toEqual(["debug"]);
      expect(await complete("hrmr start --port 80 --log-format t")).toEqual(["text"]);
    });

    test("completes keys of the config file behind --set", async () => {
      expect(await complete("hrmr start --set limits.maxBodyB")).toEqual(["limits.maxBodyBytes="]);
    });

    test("completes files and folders", async () => {
      // A name with a space is one name.
      const files = await complete("hrmr start --config on");
      expect(files.map((name) => name.replace("\\ ", " "))).toEqual(["on one.json", "once.json"]);
      expect((await complete("hrmr start --modules mod")).map((name) => name.replace(/\/$/, ""))).toEqual(["modules"]);
    });

    test("completes the arguments of help and completion", async () => {
      expect(await complete("hrmr help st")).toEqual(["start", "status", "stop"]);
      expect(await complete("hrmr completion z")).toEqual(["zsh"]);
    });

    test("completes the running server's modules behind reload, several times", async () => {
      expect(await complete("hrmr reload g")).toEqual(["greet", "guess"]);
      expect(await complete("hrmr reload other gr")).toEqual(["greet"]);
    });

    test("offers nothing where anything may stand", async () => {
      expect(await complete("hrmr start --port ")).toEqual([]);
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
