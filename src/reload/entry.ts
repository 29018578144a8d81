/**
 * A module in memory, from its first sight to its removal: where its versions stand.
 */
import type { BuiltModule } from "../module/build/build";
import type { ModuleFile } from "../module/build/discover";
import type { Generation } from "../module/generation";
import type { BoundRoute } from "../module/route";
import { CallFigures } from "../observe/figures";
import type { ApprovedModule } from "./versions/approved";
import type { Hold } from "./versions/hold";

/** A module's file, as a reload finds it. */
export type FoundModule = ModuleFile & { readonly isImplicit: boolean };

/** A module's place in the registry. */
export interface ModuleEntry {
  readonly name: string;
  source: string;
  /** Ships with hrmr and is on without having been asked for: it gives way to whoever claims its routes. */
  isImplicit: boolean;
  /** The version that gets new messages. */
  live: Generation | null;
  /** What serves while there is no live version, because an exclusive reload failed: 503s. */
  unavailable: readonly BoundRoute[];
  /** Replaced versions that still have something under way, oldest first. */
  readonly old: Set<Generation>;
  /** Calls of its versions that are gone. */
  readonly gone: CallFigures;
  built: BuiltModule | null;
  /** Of the last reload that failed; null once one succeeded. */
  error: string | null;
  lastNumber: number;
  /** What was rolled back from and must not come back by itself; null: nothing. */
  hold: Hold | null;
  /** What served last before the module was in memory; null: nothing is known of that. */
  past: ApprovedModule["version"];
  /** What served before `live`, whose figures go on with what is under way on it; null: nothing. */
  former: { readonly number: number; readonly figures: CallFigures } | null;
}

/** Where modules have their places. */
export interface Entries {
  readonly entries: Map<string, ModuleEntry>;
  /** Modules that are not in memory and have served: their numbers go on. */
  readonly remembered: Map<string, ApprovedModule>;
}

/** @returns the module's place in the registry, made if it had none */
export function entryFor({ entries, remembered }: Entries, file: FoundModule): ModuleEntry {
  const known = entries.get(file.name);
  if (known !== undefined) {
    known.isImplicit = file.isImplicit;
    return known;
  }
  const past = remembered.get(file.name);
  const entry: ModuleEntry = {
    name: file.name,
    source: file.file,
    isImplicit: file.isImplicit,
    live: null,
    unavailable: [],
    old: new Set(),
    gone: new CallFigures(),
    built: null,
    error: null,
    lastNumber: past?.lastNumber ?? 0,
    hold: past?.hold ?? null,
    past: past?.version ?? null,
    former: null,
  };
  entries.set(file.name, entry);
  return entry;
}

/** What another process has to know to serve the same. */
export function approvedModule({
  name,
  source,
  isImplicit,
  live,
  lastNumber,
  error,
  hold,
}: ModuleEntry): ApprovedModule {
  const version =
    live === null ? null : { number: live.number, hash: live.hash, file: live.spec.file, config: live.spec.config };
  return { name, source: live?.spec.source ?? source, isImplicit, version, lastNumber, error, hold };
}
