/**
 * Positions among the events of a server: the number of the last event of each process, since the processes have the
 * events in different orders. As text "1f0a9c3e.17,77aa01bc.4": the id of an event is a position too. Pure.
 */

/** By process (the first part of its events' ids), in the order of their last events. */
export type Position = Map<string, number>;

/** Processes that a position names. Each start of a process is another one. */
const MAX_ORIGINS = 64;
const TEXT = /^(?:[\da-f]{8}\.\d{1,15}(?:,|$))+$/;

/** @returns null: the text is none. It may come from a client */
export function readPosition(text: string): Position | null {
  if (text === "") return new Map();
  if (!TEXT.test(text) || text.endsWith(",")) return null;
  const parts = text.split(",").slice(0, MAX_ORIGINS);
  return new Map(parts.map((part) => [originOf(part), numberOf(part)]));
}

export function positionText(position: Position): string {
  return [...position].map(([origin, number]) => `${origin}.${number}`).join(",");
}

/** @param id of an event behind the position */
export function advance(position: Position, id: string): void {
  const origin = originOf(id);
  position.delete(origin);
  position.set(origin, numberOf(id));
  if (position.size > MAX_ORIGINS) position.delete(position.keys().next().value as string);
}

/** Whether the position is behind the event. */
export function covers(position: Position, id: string): boolean {
  return numberOf(id) <= (position.get(originOf(id)) ?? -1);
}

export function originOf(id: string): string {
  return id.slice(0, id.indexOf("."));
}

function numberOf(id: string): number {
  return Number(id.slice(id.indexOf(".") + 1));
}
