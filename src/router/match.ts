/** Matching's answer when no key fits and no later byte can change that. */
export const NO_MATCH: unique symbol = Symbol("NO_MATCH");

/** Matching's answer while later bytes could still change it. */
export const NEED_MORE: unique symbol = Symbol("NEED_MORE");
