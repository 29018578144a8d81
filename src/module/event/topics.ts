/**
 * Topics of events, and the patterns that choose them. A topic is names with dots between: "user.created". In a pattern,
 * `*` stands for one whole name and `>`, at the end, for one or more: "user.*", "user.>". Both as in NATS. Pure.
 */
import { quoted } from "../../config/quoted";

const MAX_CHARS = 255;
const ONE = "*";
const REST = ">";

/** @returns why a topic cannot be emitted, as the end of a sentence; null: it can */
export function topicMistake(topic: unknown): string | null {
  const mistake = nameMistake(topic);
  if (mistake !== null) return mistake;
  return hasWildcard(topic as string)
    ? `${quoted(topic as string)} has a wildcard (${ONE} or ${REST}): those are for subscribers`
    : null;
}

/** @returns why a pattern chooses no topics, as the end of a sentence; null: it does */
export function patternMistake(pattern: unknown): string | null {
  const mistake = nameMistake(pattern);
  if (mistake !== null) return mistake;
  const names = (pattern as string).split(".");
  if (names.includes("**"))
    return `${quoted(pattern as string)} has "**": write ${REST} at the end for all that follows`;
  if (names.some((name) => name.length > 1 && (name.includes(ONE) || name.includes(REST))))
    return `${quoted(pattern as string)} has a wildcard within a name: ${ONE} stands for a whole name`;
  if (names.slice(0, -1).includes(REST)) return `${quoted(pattern as string)} has ${REST} before its end`;
  return null;
}

function nameMistake(topic: unknown): string | null {
  if (typeof topic !== "string") return `a topic is a string, such as "user.created", and not ${typeof topic}`;
  if (topic === "") return "a topic is empty";
  if (topic.length > MAX_CHARS) return `a topic has ${topic.length} characters; at most ${MAX_CHARS} are possible`;
  if (/[\s\p{Cc}]/u.test(topic) || !topic.isWellFormed())
    return `${quoted(topic)} has a space, a control character or half a character in it`;
  if (topic.split(".").includes("")) return `${quoted(topic)} has an empty name between its dots`;
  return null;
}

/** Whether a pattern without a mistake chooses more than the topic that it spells. */
export function hasWildcard(pattern: string): boolean {
  return pattern.includes(ONE) || pattern.includes(REST);
}

/** Whether a pattern chooses a topic. Both without a mistake. */
export function matchesTopic(pattern: string, topic: string): boolean {
  let at = 0;
  for (let i = 0; i < pattern.length; i++) {
    const letter = pattern[i];
    if (letter === REST) return at < topic.length;
    if (letter === ONE) {
      const dot = topic.indexOf(".", at);
      if (at >= topic.length) return false;
      at = dot === -1 ? topic.length : dot;
    } else if (letter !== topic[at++]) return false;
  }
  return at === topic.length;
}
