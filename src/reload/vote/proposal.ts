/** A reload's exchange with the server's other processes. */
import { describeFailure } from "../verdict/failure-text";
import { UserError } from "../../config/user-error";
import type { Agreement, ModuleProposal, Proposal } from "./agree";
import { drop } from "../bring-up";
import { failure, isAsked, type Run } from "../state";
import { identityOf } from "../../module/shape/settings";

/**
 * Sends this process's proposal, and drops candidates that the others refuse.
 *
 * @throws UserError if nothing at all may change; the caller then gives the reload up
 */
export async function agreeWithOthers(run: Run): Promise<void> {
  const { agree } = run.registry.options;
  if (agree === undefined) return;
  const agreement = await answerOf(agree, { error: null, modules: proposalOf(run) });
  if (agreement.error !== null) throw refusedError(agreement.error);
  for (const [name, text] of Object.entries(agreement.refused)) await refuse(run, name, text);
}

/** Tells the others that this process refuses the whole reload, so that they do too. Never rejects. */
export async function tellRefusal({ registry: { options } }: Run, error: unknown): Promise<void> {
  try {
    await options.agree?.({ error: describeFailure(error), modules: [] });
  } catch (cause) {
    options.log.warn(
      `The other processes could not be told that the reload is refused here: ${describeFailure(cause)}`,
    );
  }
}

async function answerOf(agree: (proposal: Proposal) => Promise<Agreement>, proposal: Proposal): Promise<Agreement> {
  try {
    return await agree(proposal);
  } catch (cause) {
    throw refusedError(`the server's processes could not agree on it: ${describeFailure(cause)}`, cause);
  }
}

function refusedError(reason: string, cause?: unknown): UserError {
  return new UserError(`Nothing was reloaded: ${reason}`, {
    code: "RELOAD_REFUSED",
    hint: "Everything serves as before. Mend that and reload again.",
    ...(cause === undefined ? null : { cause }),
  });
}

function proposalOf(run: Run): ModuleProposal[] {
  const { registry, failures } = run;
  const asked = [...registry.entries.keys()].filter((name) => isAsked(run, name));
  return [...new Set([...asked, ...failures.keys()])].map((name) => moduleProposal(run, name));
}

function moduleProposal({ registry, candidates, failures, removed }: Run, name: string): ModuleProposal {
  const entry = registry.entries.get(name);
  const live = entry?.live ?? null;
  const served = live === null ? null : identityOf(live.hash, live.spec.config);
  const failed = failures.get(name);
  if (failed !== undefined) return { name, outcome: "failed", hash: served, error: failed.text };
  const candidate = candidates.get(name)?.generation;
  if (candidate !== undefined)
    return { name, outcome: "candidate", hash: identityOf(candidate.hash, candidate.spec.config), error: null };
  return {
    name,
    outcome: entry !== undefined && removed.has(entry) ? "removed" : "unchanged",
    hash: served,
    error: null,
  };
}

async function refuse(run: Run, name: string, text: string): Promise<void> {
  // Its own reason is more specific.
  if (run.failures.has(name)) return;
  const reason = failure(text, "refused");
  const candidate = run.candidates.get(name);
  if (candidate !== undefined) return drop(run, candidate, reason);
  const entry = run.registry.entries.get(name);
  if (entry === undefined) return;
  run.removed.delete(entry);
  run.plan = null;
  run.failures.set(name, reason);
}
