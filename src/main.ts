#!/usr/bin/env bun
/**
 * The entry: starts the command line and turns its end into an exit code.
 */
import { catchStrays, fail } from "./cli/fail";
import { runCli } from "./cli/run";

catchStrays();
try {
  process.exit(await runCli(process.argv.slice(2)));
} catch (error) {
  fail(error);
}
