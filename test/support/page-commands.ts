/** The commands that pages, comments and the program itself tell a reader to type, and a shell to type them into. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { freePort } from "./free-port";
import { childEnvironment, program } from "./program";
import { until, UNTIL_MS } from "./until";

/** One command of a page, and the reply that the page shows; null: none. */
export interface PageCommand {
  readonly text: string;
  readonly reply: string | null;
}

const ROOT = resolve(import.meta.dir, "..", "..");
/** The programs that such a command begins with, behind a prompt or a variable. */
const PROGRAMS =
  /^(?:sudo |\(?umask |[A-Z_]+=\S+ )?(?:cd|hrmr|redis-cli|\.\.?\/\S+|dist\/hrmr|npm|npx|nc|curl|printf|docker|systemctl|install|openssl|git|\(umask|python3|node|sh|sed)\b/;
const PROMPT = /^\$ /;

/** Those of the fenced blocks of sh and console of a page, block by block. */
export function fencedCommands(markdown: string): PageCommand[][] {
  const blocks = [...markdown.matchAll(/^ *```(?:sh|console|bash)\n([\s\S]*?)^ *```/gm)].map((match) => match[1] ?? "");
  return blocks.map((block) => commandsOf(block.split("\n")));
}

/** Those of the comments of a module in TypeScript or C. */
export function commentCommands(source: string): PageCommand[] {
  const comments = [...source.matchAll(/\/\*[\s\S]*?\*\//g)].map(([comment]) =>
    comment.split("\n").map((line) => line.replace(/^\s*\/?\*+\/?\s?/, "")),
  );
  // Prose is not indented.
  return comments.flatMap((lines) =>
    commandsOf(lines.filter((line) => /^ {2,}\S/.test(line)).map((line) => line.trim())),
  );
}

/** Those of a page of HTML: the lines of `pre`. Only a shell's begin with one of its programs. */
export function htmlCommands(html: string): PageCommand[] {
  const blocks = [...html.matchAll(/<pre>([\s\S]*?)<\/pre>/g)].map((match) =>
    decode((match[1] ?? "").replaceAll(/<[^>]*>/g, "")),
  );
  return blocks.flatMap((block) => commandsOf(block.split("\n"), true));
}

/** Those that the program prints indented, as `hrmr init` does. */
export function printedCommands(output: string): PageCommand[] {
  return commandsOf(
    output
      .split("\n")
      .filter((line) => /^ {2}\S/.test(line))
      .map((line) => line.trim()),
  );
}

/** `hrmr ...` in backticks. */
export function quotedCommands(text: string): string[] {
  return [...text.matchAll(/`(hrmr(?: [^`]*)?)`/g)].map((match) => match[1] ?? "");
}

function decode(html: string): string {
  return html.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&amp;", "&");
}

/** Where there are prompts, the line below one is the reply, and lines without one are no commands. */
function commandsOf(lines: readonly string[], isLoose = false): PageCommand[] {
  const hasPrompts = lines.some((line) => PROMPT.test(line));
  return lines.flatMap((line, at): PageCommand[] => {
    if (hasPrompts && !PROMPT.test(line)) return [];
    const bare = line.replace(PROMPT, "").trimEnd();
    if (bare === "" || bare.startsWith("#") || ((isLoose || !hasPrompts) && !PROGRAMS.test(bare))) return [];
    const next = lines[at + 1] ?? "";
    const below = hasPrompts && next !== "" && !PROMPT.test(next) ? next.trim() : null;
    return [{ text: bare, reply: below ?? replyIn(bare) }];
  });
}

/** `# PONG` is a reply of one word, `# -> Hello, bob` one of several; other comments tell something else. */
function replyIn(line: string): string | null {
  const comment = / # (.*)$/.exec(line)?.[1]?.trim() ?? "";
  return /^-> (.+)$/.exec(comment)?.[1] ?? (/^\w+$/.test(comment) ? comment : null);
}

/**
 * A folder with a shell in it: `hrmr` and `dist/hrmr` are the program under test, and its server takes a free port
 * instead of 8080.
 */
export class PageShell {
  readonly dir: string;
  readonly port: number;
  #cwd: string;
  readonly #env: Record<string, string>;
  #server: Bun.Subprocess | null = null;

  constructor(files: Readonly<Record<string, string>> = {}) {
    this.dir = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-page-")));
    this.port = freePort();
    this.#cwd = this.dir;
    for (const [path, text] of Object.entries({ "package.json": '{ "private": true }\n', ...files }))
      this.write(path, text);
    symlinkSync(join(ROOT, "node_modules"), join(this.dir, "node_modules"));
    const script = `#!/bin/sh\nexec ${program()
      .map((word) => `'${word}'`)
      .join(" ")} "$@"\n`;
    for (const path of [".bin/hrmr", "dist/hrmr"]) {
      this.write(path, script);
      chmodSync(join(this.dir, path), 0o755);
    }
    const path = `${join(this.dir, ".bin")}:${process.env["PATH"] ?? ""}`;
    this.#env = childEnvironment({ HRMR_PORT: String(this.port), HRMR_THREADS: "2", PATH: path });
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.dir, path)), { recursive: true });
    writeFileSync(join(this.dir, path), text);
  }

  read(path: string): string {
    return readFileSync(join(this.dir, path), "utf8");
  }

  /**
   * Types a command. One that starts a server in the foreground goes on behind it, once it is ready.
   *
   * @returns its output
   * @throws Error if it fails, or does not end
   */
  async type(command: string): Promise<string> {
    const line = command
      .replaceAll(/\b(localhost|127\.0\.0\.1)([: ])80(?:80|81)\b/g, `$1$2${this.port}`)
      // If port 8080 is in use, init prints another port.
      .replaceAll(/( --port| -p) 80\d\d\b/g, `$1 ${this.port}`);
    const isServer =
      /(?:^|&& )(?:\S*\/)?hrmr(?: start)?(?: +(?!-d\b)-\S+(?: [^\s#-]\S*)?)*\s*(?:#.*)?$/.test(line) &&
      !/ -d\b/.test(line);
    const place = join(this.dir, ".cwd");
    // A cd stays for the next command; a server's shell ends with it.
    const script = isServer ? line : `${line}\ncode=$?\npwd > ${place}\nexit $code`;
    const child = Bun.spawn(["sh", "-c", isServer ? line.replace(/((?:\S*\/)?hrmr\b[^&]*)$/, "exec $1") : script], {
      cwd: this.#cwd,
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> => {
      for await (const piece of stream.pipeThrough(new TextDecoderStream())) output += piece;
    };
    const read = Promise.all([gather(child.stdout), gather(child.stderr)]);
    if (isServer) {
      this.#server = child;
      await until(`the start by "${line}"`, () => {
        if (child.exitCode !== null) throw new Error(`"${line}" ended with ${child.exitCode}: ${output}`);
        return /ready in \d+ ms/.test(output);
      });
      const [, folder] = /^cd (\S+) && /.exec(line) ?? [];
      if (folder !== undefined) this.#cwd = join(this.#cwd, folder);
      return output;
    }
    const late = setTimeout(() => child.kill("SIGKILL"), 2 * UNTIL_MS);
    const code = await child.exited;
    clearTimeout(late);
    if (child.signalCode === "SIGKILL") throw new Error(`"${line}" did not end. It printed: ${output}`);
    await read;
    // The page is about a verdict that begins with ERR.
    if (code !== 0 && !output.startsWith("ERR ")) throw new Error(`"${line}" ended with ${code}: ${output}`);
    if (existsSync(place)) this.#cwd = readFileSync(place, "utf8").trim();
    return output;
  }

  /** Resolves when the server that was started has ended. */
  async ended(): Promise<void> {
    await until("the end of the server", () => this.#server === null || this.#server.exitCode !== null);
  }

  /** Ends all started programs, also in the background, and deletes the folder. */
  async close(): Promise<void> {
    if (this.#server !== null) {
      this.#server.kill("SIGTERM");
      await this.#server.exited;
    }
    for (const folder of [this.dir, this.#cwd]) {
      if (!existsSync(join(folder, ".hrmr/control.sock"))) continue;
      const stopped = Bun.spawn([...program(), "stop", "--force"], {
        cwd: folder,
        env: this.#env,
        stdio: ["ignore", "ignore", "ignore"],
      });
      await stopped.exited;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
