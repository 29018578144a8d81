/** A process's system calls on files, in order, recorded by strace. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./until";

const CALLS = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,linkat";

/** strace is there, and may look at this user's processes. */
export function canTrace(): boolean {
  return (
    process.platform === "linux" &&
    Bun.which("strace") !== null &&
    Bun.spawnSync(["strace", "-o", "/dev/null", "true"]).exitCode === 0
  );
}

/**
 * @returns the calls that process `pid` made during `act` and that succeeded, paths relative to `dir`: "fsync modules",
 * "rename a b"
 */
export async function traceFiles(pid: number, dir: string, act: () => Promise<void>): Promise<string[]> {
  const file = join(dir, "strace.out");
  const strace = Bun.spawn(["strace", "-f", "-y", "-s", "300", "-e", `trace=${CALLS}`, "-o", file, "-p", String(pid)], {
    stderr: "ignore",
  });
  await until("strace to look", () => !/^TracerPid:\t0$/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  try {
    await act();
  } finally {
    strace.kill("SIGINT");
    await strace.exited;
  }
  return wholeCalls(readFileSync(file, "utf8")).flatMap((line) => readCall(line, dir));
}

/** A call that another thread's call interrupts is two lines. It is listed where it ended. */
function wholeCalls(text: string): string[] {
  const begun = new Map<string, string>();
  return text.split("\n").flatMap((line) => {
    const [, thread = "", rest = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const end = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)?.[1];
    if (end !== undefined) return [`${begun.get(thread) ?? ""}${end}`];
    if (!rest.endsWith("<unfinished ...>")) return [rest];
    begun.set(thread, rest.replace(/ *<unfinished \.\.\.>$/, ""));
    return [];
  });
}

function readCall(line: string, dir: string): string[] {
  const [, name = "", args = ""] = /^(\w+)\((.*)\) += 0$/.exec(line) ?? [];
  if (name === "") return [];
  const paths = [...args.matchAll(/"([^"]*)"|\d<([^>]*)>/g)].map(([, quoted, opened]) => quoted ?? opened ?? "");
  const [verb = ""] = /^(?:fsync|fdatasync|rename|unlink|link)/.exec(name) ?? [];
  return [
    `${verb === "fdatasync" ? "fsync" : verb} ${paths.map((path) => (path === dir ? "." : path.replace(`${dir}/`, ""))).join(" ")}`,
  ];
}
