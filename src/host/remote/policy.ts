/** The differences between the pool's threads, which modules share, and a module's own process. */
import type { LoadSpec } from "../../module/version";
import type { Quarantine } from "../quarantine";
import type { OpenPlace } from "./place";

/** A policy's view of a place and its keeper. */
export interface KeptPlace {
  readonly index: number;
  /** Starts it again after `startsAnew` was false. */
  resume(): void;
  /** It counts as lost, and the next one loads the generation `id` again. */
  giveUp(id: number, reason: string): void;
}

export interface HostPolicy {
  /** How many places there are. At least 1. */
  readonly count: number;
  readonly open: OpenPlace;
  /** False: a place may send and write anything. The server then ends it. */
  readonly isTrusted: boolean;
  readonly texts: HostTexts;
  /** A place, at the beginning of a sentence: "Pool thread 3". */
  nameOf(index: number): string;
  /**
   * A place was lost.
   *
   * @param suspect the generation whose code ended it, if known; null: not known
   * @param loaded  all generations there
   * @returns the generation that gets the crash; null: none
   */
  lost(reason: string, index: number, suspect: LoadSpec | null, loaded: readonly LoadSpec[]): LoadSpec | null;
  /** Whether a lost place starts again at once. @param isShutOut its culprit is now in quarantine */
  startsAnew(isShutOut: boolean): boolean;
  /** The time of a quarantine is over. See `QuarantineOwner.tryAgain`. */
  tryAgain(places: readonly KeptPlace[]): boolean;
  /** A restarted place has loaded a generation again. */
  restored(id: number, quarantine: Quarantine): void;
  /** A restarted place could not load a generation again. */
  notRestored(spec: LoadSpec, error: Error, place: KeptPlace): void;
}

export interface HostTexts {
  /** The host, at the beginning of a sentence: "The pool". */
  readonly name: string;
  /** How to make more room for calls: "raise limits.maxQueued or threads". */
  readonly cure: string;
  /** The words for a missing module: "is on no pool thread any more". */
  readonly gone: string;
  /** Why calls are refused at the end: "The pool is closed: the server shuts down." */
  readonly closed: string;
}
