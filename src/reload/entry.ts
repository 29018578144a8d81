/** A module in memory, from its discovery to its removal, with its versions. */
import type { BuiltModule } from "../module/build/build";
import type { ModuleFile } from "../module/build/discover";
import type { Generation } from "../module/generation";
import type { BoundRoute } from "../module/route";
import { CallFigures } from "../observe/figures";
import type { ApprovedModule } from "./versions/approved";
import type { Hold } from "./versions/hold";

/** A module's file as found by a reload. */
export type FoundModule = ModuleFile & { readonly isImplicit: boolean };

/** A module's entry in the registry. */
export interface ModuleEntry {
  readonly name: string;
  source: string;
  /** It ships with hrmr and is on by default: it gives way to any module that claims its routes. */
  isImplicit: boolean;
  /** The version that gets new messages. */
  live: Generation | null;
  /** The routes that answer 503 while there is no live version, after a failed exclusive reload. */
  unavailable: readonly BoundRoute[];
  /** Whether the version that answers 503 has services for clients. */
  hadProcedures: boolean;
  hadTools: boolean;
  /** Replaced versions that still have open work, oldest first. */
  readonly old: Set<Generation>;
  /** The calls of its disposed versions. */
  readonly gone: CallFigures;
  built: BuiltModule | null;
  /** The error of the last failed reload; null once one has succeeded. */
  error: string | null;
  /** The module that it needs and that did not serve at its last failed reload. null: that was not the reason. */
  lacks: string | null;
  lastNumber: number;
  /** The versions that were rolled back and must not come back by themselves; null: none. */
  hold: Hold | null;
  /** The version that served last before the module was in memory; null: not known. */
  past: ApprovedModule["version"];
  /** The version that served before `live`. Its figures still grow with its open work. null: none. */
  former: { readonly number: number; readonly figures: CallFigures } | null;
}

/** The entries of all modules. */
export interface Entries {
  readonly entries: Map<string, ModuleEntry>;
  /** Modules that have served but are not in memory. Their version numbers continue. */
  readonly remembered: Map<string, ApprovedModule>;
}

/** @returns the module's entry, made if it had none */
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
    hadProcedures: false,
    hadTools: false,
    old: new Set(),
    gone: new CallFigures(),
    built: null,
    error: null,
    lacks: null,
    lastNumber: past?.lastNumber ?? 0,
    hold: past?.hold ?? null,
    past: past?.version ?? null,
    former: null,
  };
  entries.set(file.name, entry);
  return entry;
}

/** The facts that another process needs to serve the same. */
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
