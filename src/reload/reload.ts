/**
 * One reload from start to end: build, load everywhere, check the routes, set up, agree, swap, retire. Serving versions
 * stay unchanged until the swap, which is one assignment. A module that fails keeps its old version.
 */
import { describeFailure } from "./verdict/failure-text";
import { UserError } from "../config/user-error";
import { look } from "./look";
import type { LoadSettings, ModuleSet } from "./module-set";
import { orderFor, type ReloadOrder } from "./order";
import { prepare } from "./prepare";
import { agreeWithOthers, tellRefusal } from "./vote/proposal";
import { beginRun, isAsked, plannedModules, type Run, timed } from "./state";
import { dropAll, refuseUnfit, startAll } from "./bring-up";
import type { ApprovedModule } from "./versions/approved";
import { prepareStored, takeOver } from "./versions/stored";
import { commit, settle } from "./swap";
import type { Verdict } from "./verdict/verdict";

/**
 * @returns the verdict; a module that cannot be loaded with its new files or settings keeps its old ones; the others
 *   are reloaded
 * @throws UserError if the whole reload is refused, here or in another process. Nothing has changed then, settings
 *   included
 */
export async function runReload(registry: ModuleSet, order: ReloadOrder, next: LoadSettings | null): Promise<Verdict> {
  const run = beginRun(registry, order, next);
  try {
    await prepareAll(run);
  } catch (error) {
    // The others wait for this process, and it must not wait for them while an old version is away.
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
 * Loads these versions unchanged: no look at the modules folder, no build, no probe, no new numbers. A missing or
 * damaged bundle is built from the author's file, and the verdict says so.
 */
export async function loadApproved(
  registry: ModuleSet,
  approved: readonly ApprovedModule[],
  isResumed: boolean,
): Promise<Verdict> {
  const order = orderFor(approved.map(({ name }) => name));
  const run: Run = { ...beginRun(registry, order, null), servesElsewhere: true };
  for (const module of approved) {
    // This may be another hrmr than the one that served last, with other shipped modules.
    const shipped = isResumed
      ? run.wanted.shipped.find(({ name, file }) => name === module.name && file === module.source)
      : undefined;
    if (shipped === undefined) await timed(run, "load", () => takeOver(run, module));
    else await prepare(run, shipped);
  }
  await refuseUnfit(run);
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

/** The last part of a run: the remaining candidates serve from here on. */
async function finish(run: Run): Promise<Verdict> {
  // Refused modules keep their routes, which others may have claimed.
  await refuseUnfit(run);
  await timed(run, "swap", async () => commit(run));
  return await settle(run);
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
 * Runs before the starts, so that no module starts in vain, and after them, because a module that did not start keeps
 * its routes and middleware.
 */
async function checkRoutes(run: Run): Promise<void> {
  await refuseUnfit(run);
  mustHaveMiddleware(run);
}

/** New settings are refused, as at a start, if a new module in `http.use` has no middleware. */
function mustHaveMiddleware(run: Run): void {
  const { use = [] } = run.registry.current;
  // A module that is in use already fails alone, and its old version stays.
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
