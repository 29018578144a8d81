#!/usr/bin/env bun
/**
 * The entry: starts the command line and turns its end into an exit code.
 */
import { catchStrays, fail, onStray } from "./cli/fail";
import { runCli } from "./cli/run";
import { ROLE_VARIABLE } from "./supervise/self";

catchStrays();
try {
  process.exit(await play(takeRole()));
} catch (error) {
  fail(error);
}

/** Processes that module code starts must not take themselves for one of the server's. */
function takeRole(): string | undefined {
  const role = process.env[ROLE_VARIABLE];
  delete process.env[ROLE_VARIABLE];
  return role;
}

async function play(role: string | undefined): Promise<number> {
  if (role !== "server") return await runCli(process.argv.slice(2));
  const { runChild } = await import("./supervise/child");
  return await runChild(onStray);
}
