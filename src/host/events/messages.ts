/** The form of an event between the server and a place: one character for each byte. */
import type { EventRecord } from "../../module/event/record";

export function encodeEvent({ id, emitter, topic, text }: EventRecord): string {
  return `${JSON.stringify([id, emitter, topic]).replace(NOT_ASCII, escaped)}\n${text}`;
}

export function decodeEvent(latin1: string): EventRecord {
  const end = latin1.indexOf("\n");
  const [id, emitter, topic] = JSON.parse(latin1.slice(0, end)) as [string, string, string];
  return { id, emitter, topic, text: latin1.slice(end + 1) };
}

const NOT_ASCII = /[\u0080-\uffff]/g;

function escaped(letter: string): string {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
