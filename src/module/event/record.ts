/** An event on its way, and where it goes. */
import type { HubEvent } from "../contract";
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
export interface EventVersion {
  /** Of its load. */
  readonly id: number;
  readonly module: string;
}

/** Where the events of one subscription go. */
export interface EventSink {
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
