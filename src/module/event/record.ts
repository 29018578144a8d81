/** An event on its way, and where it goes. */
import type { HubEvent } from "../contract";
import type { Position } from "./position";
import { decodeValue } from "../service/values";

/** An event on its way. Plain data. */
export interface EventRecord {
  /** "ORIGIN.NUMBER": the process that it was emitted in, and its number there, from 1. */
  readonly id: string;
  /** The module that emitted it. */
  readonly emitter: string;
  readonly topic: string;
  /** The encoded data: one character for each byte. */
  readonly text: string;
}

/** The version of a module that emits or subscribes. */
/** The events of a subscription. */
export interface EventWish {
  /** An event that several of them choose comes once. */
  readonly patterns: readonly string[];
  /** First the events behind this position that are kept. null: only those from now on. */
  readonly after: string | null;
}

export interface EventVersion {
  /** Of its load. */
  readonly id: number;
  readonly module: string;
}

/** Where the events of one subscription go. */
export interface EventSink {
  /** Called before any event. @param position  behind the last event so far, if it is not yet known */
  begin(position: Position): void;
  /** @returns false: it is full, and drops the event */
  push(event: EventRecord): boolean;
  /** No more events come. */
  end(): void;
  /** Called for each event that its reader takes. Default: nobody needs it */
  onTaken: (() => void) | null;
}

/** @returns a copy of its own for each subscriber. @throws Error for damaged data */
export function eventOf({ id, emitter, topic, text }: EventRecord): HubEvent {
  return { topic, data: decodeValue(text), emitter, id };
}
