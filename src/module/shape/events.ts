/** Checks a module's `on`: its handlers of events. */
import type { EventHandler } from "../contract";
import { patternMistake } from "../event/topics";
import type { HandlerSpec } from "../route";
import { isObject, kindOf, shapeError, shown } from "./errors";
import type { LifeSpec } from "./life";

/** A handler of events with the author's function. Call it through the graph's `run`. */
export interface ShapedHandler {
  readonly spec: HandlerSpec;
  readonly handler: EventHandler;
}

const EXAMPLE = 'on: { "user.*": (event, context) => context.log.info(event.topic) }';

/** @param place decides where they run, as for `start` */
export function readHandlers(name: string, on: unknown, place: LifeSpec): ShapedHandler[] {
  if (on === undefined) return [];
  if (!isObject(on) || Array.isArray(on)) throw shapeError(name, `"on" is ${kindOf(on)}. Write ${EXAMPLE}`);
  return Object.entries(on).map(([pattern, handler], index) => {
    const mistake = patternMistake(pattern);
    if (mistake !== null) throw shapeError(name, `"on": ${mistake}`);
    if (typeof handler !== "function")
      throw shapeError(name, `"on": ${shown(pattern)} is ${kindOf(handler)}, and must be a function`);
    const run = place.host === "process" ? "process" : "inline";
    // As a method of its definition, since it may use `this`.
    const call: EventHandler = (...args) => (on as Record<string, EventHandler>)[pattern]?.(...args);
    return { spec: { pattern, index, run, background: place.background }, handler: call };
  });
}
