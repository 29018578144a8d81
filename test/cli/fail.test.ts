import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const FAIL = JSON.stringify(join(import.meta.dir, "../../src/cli/fail"));
const USER_ERROR = JSON.stringify(join(import.meta.dir, "../../src/config/user-error"));

/** Runs `code` as a program of its own, with the functions under test in reach. */
function run(code: string) {
  const source = `import { catchStrays, fail } from ${FAIL}; import { UserError } from ${USER_ERROR}; ${code}`;
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, "-e", source], {
    env: { ...process.env, NO_COLOR: "1" },
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe("how the program ends", () => {
  test("a user's mistake is two lines and its own exit code", () => {
    const ended = run(
      'fail(new UserError("The door is locked.", { code: "LOCKED", hint: "Bring a key.", exitCode: 2 }))',
    );
    expect(ended).toEqual({ exitCode: 2, stdout: "", stderr: "The door is locked.\nBring a key.\n" });
  });

  test("anything else is our bug: its stack with its cause, and 70", () => {
    const { exitCode, stderr } = run('fail(new Error("outer", { cause: new Error("inner") }))');
    expect(stderr).toStartWith("This is a bug in hrmr.");
    expect(stderr).toMatch(/Error: outer\n\s+at [^]*Error: inner/);
    expect(exitCode).toBe(70);
  });

  test.each(['setTimeout(() => { throw new Error("stray") })', 'void Promise.reject(new Error("stray"))'])(
    "what nobody catches ends alike: %s",
    (code) => {
      const { exitCode, stderr } = run(`catchStrays(); ${code}; setTimeout(() => process.exit(0), 5000);`);
      expect(stderr).toContain("Error: stray");
      expect(exitCode).toBe(70);
    },
  );
});
