/**
 * Writes to a store, and to the file `acks` what was acknowledged, a line of JSON each: for a disk under test. Started as
 * a program of its own: `bun recorded.ts FOLDER URL SEED COMMITS`.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Commit, Mutation } from "../../../src/module/store/port";
import { StoreEngine } from "../../../src/store/engine";
import { Random } from "../random";

export const RECORDED = import.meta.path;
export const RECORDED_COLLECTION = "c";
/** Beside the store. */
export const ACKS = "acks";

/** One commit that was acknowledged. */
export interface Acknowledged {
  /** The version of each key after it; text null: it was deleted. 0: there was nothing to delete. */
  readonly writes: readonly { readonly key: string; readonly text: string | null; readonly version: number }[];
}

const KEYS = 60;
const MAX_WRITES = 3;
const MAX_TEXT = 12_000;
/** Commits of one turn. */
const MAX_TOGETHER = 4;

function randomCommit(random: Random, number: number): Commit {
  const keys = new Set(Array.from({ length: 1 + random.below(MAX_WRITES) }, () => `k${random.below(KEYS)}`));
  return { checks: [], mutations: [...keys].map((key) => randomMutation(random, key, number)) };
}

function randomMutation(random: Random, key: string, number: number): Mutation {
  const place = { collection: RECORDED_COLLECTION, key, ifVersion: null };
  if (random.below(5) === 0) return { kind: "delete", ...place };
  const filler = random.below(4) === 0 ? "x".repeat(random.below(MAX_TEXT)) : "";
  return { kind: "set", text: JSON.stringify({ number, filler }), expiresAt: null, ...place };
}

async function main([folder = "", url = "", seed = "0", commits = "0"]: string[]): Promise<void> {
  const random = new Random(Number(seed));
  const log = { error: console.error, warn: console.error };
  const engine = new StoreEngine({
    settings: () => ({ url, durability: "full", maxValueBytes: 1 << 20, keptChanges: 100_000 }),
    dataDir: join(folder, "data"),
    log,
    background: { isHere: false, watch: () => {} },
  } as unknown as ConstructorParameters<typeof StoreEngine>[0]);
  const acks = openSync(join(folder, ACKS), "a");
  const run = async (number: number): Promise<void> => {
    const commit = randomCommit(random, number);
    const result = await engine.commit(commit);
    if (!result.ok) throw new Error(result.message);
    const writes = commit.mutations.map((mutation, at) => ({
      key: mutation.key,
      text: mutation.kind === "set" ? mutation.text : null,
      version: result.mutated[at]?.version,
    }));
    writeSync(acks, `${JSON.stringify({ writes })}\n`);
  };
  for (let number = 0; number < Number(commits);)
    await Promise.all(Array.from({ length: 1 + random.below(MAX_TOGETHER) }, () => run(number++)));
  await engine.close();
  closeSync(acks);
}

if (import.meta.main) await main(process.argv.slice(2));
