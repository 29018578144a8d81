import { expect, test } from "bun:test";
import { resolve } from "node:path";

const LOG_SOURCE = resolve(import.meta.dir, "../../../src/observe/log/log.ts");

/** Logs to a piped stderr in a process of its own. `log` is its log. */
function spawnLogger(code: string, stdin: "ignore" | "pipe" = "ignore") {
  const source = `import { createLog } from ${JSON.stringify(LOG_SOURCE)};\nconst log = createLog();\n${code}`;
  return Bun.spawn([process.execPath, "-e", source], { stdin, stdout: "pipe", stderr: "pipe" });
}

const numbersOf = (text: string): number[] => [...text.matchAll(/ line (\d+) /g)].map((match) => Number(match[1]));

const LINES = 5000;
const LOG_MANY = `for (let at = 0; at < ${LINES}; at++) log.info("line " + at + " " + "x".repeat(100));`;
const ALL = Array.from({ length: LINES }, (_, at) => at);

test("what does not fit into the pipe is written before the process exits", async () => {
  const child = spawnLogger(`${LOG_MANY}\nprocess.exit(3);`);
  const text = await child.stderr.text();
  expect(await child.exited).toBe(3);
  expect(numbersOf(text)).toEqual(ALL);
});

test("a reader that does not read holds nothing up, and gets it all once it reads", async () => {
  const child = spawnLogger(`${LOG_MANY}\nconsole.log("done"); setTimeout(() => log.info("line ${LINES} end"), 1);`);
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("done\n");
  expect(numbersOf(await child.stderr.text())).toEqual([...ALL, LINES]);
  expect(await child.exited).toBe(0);
});

test("to a reader that is gone nothing is written, and the process goes on", async () => {
  const child = spawnLogger(
    `process.stdin; log.info("line 0 here"); await Bun.sleep(50); ${LOG_MANY}\nprocess.exit(4);`,
  );
  await child.stderr.cancel();
  expect(await child.exited).toBe(4);
});

test("a reader that never reads costs bounded memory, and is told how much it missed", async () => {
  const child = spawnLogger(
    // It stays until its reader has it all: at its exit it would wait for a second only.
    `for (let at = 0; at < 8000; at++) log.info("x".repeat(1000));\nconsole.log("done"); await Bun.stdin.text();`,
    "pipe",
  );
  await child.stdout.getReader().read();
  let text = "";
  for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.endsWith("nobody read stderr\n")) child.stdin?.end();
  }
  const events = text.split("\n").filter((line) => line.includes(" info  x")).length;
  const missed = Number(/^\S{24} warn  (\d+) events were left out here: nobody read stderr$/m.exec(text)?.[1]);
  expect(missed).toBeGreaterThan(1000);
  expect(events + missed).toBe(8000);
});
