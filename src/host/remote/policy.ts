/** What differs between the threads of the pool, which modules share, and the process that a module has for itself. */
import type { LoadSpec } from "../../module/version";
import type { Quarantine } from "../quarantine";
import type { OpenPlace } from "./place";

/** A place and whoever looks after it, as a policy sees them. */
export interface KeptPlace {
  readonly index: number;
  /** Starts it again after `startsAnew` said that it was not to. */
  resume(): void;
  /** It counts as lost, and the next one is to load the generation `id` again. */
  giveUp(id: number, reason: string): void;
}

export interface HostPolicy {
  /** How many places there are. At least 1. */
  readonly count: number;
  readonly open: OpenPlace;
  /** False: a place may send and write anything. It is ended for that, and the server goes on. */
  readonly isTrusted: boolean;
  readonly texts: HostTexts;
  /** A place, at the beginning of a sentence: "Pool thread 3". */
  nameOf(index: number): string;
  /**
   * A place was lost.
   *
   * @param suspect the generation whose code it was lost to, as far as that can be told; null: it cannot
   * @param loaded  all generations there
   * @returns the generation that it counts as a crash of; null: none
   */
  lost(reason: string, index: number, suspect: LoadSpec | null, loaded: readonly LoadSpec[]): LoadSpec | null;
  /** Whether a lost place starts anew at once. @param isShutOut its culprit is in quarantine from now on */
  startsAnew(isShutOut: boolean): boolean;
  /** The time of a quarantine is up. See `QuarantineOwner.tryAgain`. */
  tryAgain(places: readonly KeptPlace[]): boolean;
  /** A place that started anew has loaded a generation again. */
  restored(id: number, quarantine: Quarantine): void;
  /** A place that started anew could not load a generation again. */
  notRestored(spec: LoadSpec, error: Error, place: KeptPlace): void;
}

export interface HostTexts {
  /** The host, at the beginning of a sentence: "The pool". */
  readonly name: string;
  /** How there is more room for calls: "raise limits.maxQueued or threads". */
  readonly cure: string;
  /** What a module is that has gone: "is on no pool thread any more". */
  readonly gone: string;
  /** Why there are no calls any more: "The pool is closed: the server shuts down." */
  readonly closed: string;
}
