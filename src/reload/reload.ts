/**
 * One reload from start to end: build, load everywhere, check the routes, set up, agree, swap, retire. Nothing that
 * serves is touched before the swap, which is one assignment; what fails on the way leaves its old version in place.
 */
import { UserError } from "../config/user-error";
import { look } from "./look";
import type { LoadSettings, ModuleSet } from "./module-set";
import { orderFor, type ReloadOrder } from "./order";
import { prepare } from "./prepare";
import { agreeWithOthers, tellRefusal } from "./vote/proposal";
import { beginRun, describeFailure, isAsked, plannedModules, type Run, timed } from "./state";
import { dropAll, refuseConflicts, startAll } from "./bring-up";
import type { ApprovedModule } from "./versions/approved";
import { prepareStored, takeOver } from "./versions/stored";
import { commit, settle } from "./swap";
import type { Verdict } from "./verdict/verdict";

/**
 * @returns the verdict; a module that cannot be loaded with its new files or settings keeps its old ones, and the
 *   others go on
 * @throws UserError when the reload is refused as a whole, here or in another process, and nothing has changed, the
 *   settings included
 */
export async function runReload(registry: ModuleSet, order: ReloadOrder, next: LoadSettings | null): Promise<Verdict> {
  const run = beginRun(registry, order, next);
  try {
    await prepareAll(run);
  } catch (error) {
    // The others wait for this process, and it must not wait for them with an old version still away.
    await Promise.all([tellRefusal(run, error), dropAll(run, describeFailure(error))]);
    throw error;
  }
  try {
    await timed(run, "agree", () => agreeWithOthers(run));
  } catch (error) {
    await dropAll(run, describeFailure(error));
    throw error;
  }
  return await finish(run);
}

/**
 * Loads these versions as they are: no look at the modules folder, no build, no trial, no new numbers. A bundle that is
 * gone or damaged is built from the author's file, and the verdict says so.
 */
export async function loadApproved(
  registry: ModuleSet,
  approved: readonly ApprovedModule[],
  isResumed: boolean,
): Promise<Verdict> {
  const order = orderFor(approved.map(({ name }) => name));
  const run = beginRun(registry, order, null);
  for (const module of approved) {
    // Another hrmr than the one that served last has another version of what ships with it.
    const shipped = isResumed
      ? run.wanted.shipped.find(({ name, file }) => name === module.name && file === module.source)
      : undefined;
    if (shipped === undefined) await timed(run, "load", () => takeOver(run, module));
    else await prepare(run, shipped);
  }
  await refuseConflicts(run);
  await timed(run, "start", () => startAll(run));
  const verdict = await finish(run);
  for (const { name, error, lastNumber } of approved) {
    const entry = registry.entries.get(name);
    if (entry === undefined) continue;
    entry.error ??= error;
    entry.lastNumber = Math.max(entry.lastNumber, lastNumber);
  }
  return verdict;
}

/** The last part of a run: what is left of its candidates serves from here on. */
async function finish(run: Run): Promise<Verdict> {
  // What was refused stays with the routes it had, and others may have counted on them.
  await refuseConflicts(run);
  const settled = await timed(run, "swap", () => {
    commit(run);
    return settle(run);
  });
  return { ...settled, elapsedMs: performance.now() - run.startedMs };
}

async function prepareAll(run: Run): Promise<void> {
  await timed(run, "build", () => look(run));
  for (const version of Object.values(run.order.versions)) await prepareStored(run, version);
  const byDisk = run.files.filter(({ name }) => isAsked(run, name) && !Object.hasOwn(run.order.versions, name));
  for (const file of byDisk) await prepare(run, file);
  await checkRoutes(run);
  await timed(run, "start", () => startAll(run));
  await checkRoutes(run);
}

/**
 * Before the starts, so that no module is started in vain; and behind them, because a module that did not start keeps
 * the routes and the middleware that it had.
 */
async function checkRoutes(run: Run): Promise<void> {
  await refuseConflicts(run);
  mustHaveMiddleware(run);
}

/**
 * A module that new settings put before all requests is refused with them if it cannot stand there, as it would be at
 * the start.
 */
function mustHaveMiddleware(run: Run): void {
  const { use = [] } = run.registry.current;
  // One that stands there already fails for itself, and its old version goes on.
  const added = run.wanted.use?.filter((name) => !use.includes(name)) ?? [];
  if (added.length === 0) return;
  const there = new Set(run.files.map(({ name }) => name));
  const able = new Set(plannedModules(run).flatMap(({ name, middleware }) => (middleware === null ? [] : [name])));
  const missing = added.find((name) => !there.has(name) || !able.has(name));
  if (missing === undefined) return;
  const reason = run.failures.get(missing)?.text ?? "it has no middleware";
  throw new UserError(`Module "${missing}" cannot be used: ${reason}`, {
    code: "MIDDLEWARE_MISSING",
    hint: "http.use names it. Nothing was changed. Mend it, or take it out of http.use.",
  });
}
