#!/usr/bin/env bun
/**
 * The entry: starts the command line and turns its end into an exit code. Or it is one of the server's processes: then
 * it loads what that needs, and nothing else.
 */
import { dropVariablesOfBun } from "./system/environment";
import { ROLE_VARIABLE } from "./system/self";

// Run from source, Bun has read .env and its kin in the working directory. hrmr does it itself, as in the binary.
if (!Bun.isStandaloneExecutable) dropVariablesOfBun();
const role = takeRole();
if (role === "module") {
  const { runModuleProcess } = await import("./host/inside/process-main");
  await runModuleProcess();
}
const { catchStrays, fail } = await import("./cli/fail");
catchStrays();
try {
  process.exit(await play());
} catch (error) {
  fail(error);
}

/** Processes that module code starts must not take themselves for one of the server's. */
function takeRole(): string | undefined {
  const taken = process.env[ROLE_VARIABLE];
  delete process.env[ROLE_VARIABLE];
  return taken;
}

async function play(): Promise<number> {
  if (role === "server") {
    const { runChild } = await import("./supervise/serve/child");
    const { onStray } = await import("./cli/fail");
    return await runChild(onStray);
  }
  const { runCli } = await import("./cli/run");
  return await runCli(process.argv.slice(2));
}
