/**
 * The states of a connection. A connection is in one of them at a time, and each gives its own meaning to the
 * connection's one deadline. `--log-level trace` logs each change by these names.
 *
 * | State     | Waits for                                      | When its deadline passes   | When the server drains
 * | | --------- | ---------------------------------------------- | -------------------------- |
 * ------------------------- | | idle      | the next message, or room for more replies     | ends if nothing is owed
 * | last-call                 | | prefix    | bytes that may make a longer route match       | the shorter route gets
 * all | last-call                 | | quiet     | a pause: only a pause ends what is held        | what is held is a
 * message  | last-call                 | | message   | the rest of a message                          | error reply,
 * then the end  | last-call                 | | settled   | nothing: bytes are routed after a wait         | (none is
 * armed)            | last-call                 | | throttled | the next second: too many messages in this one | the
 * held message is routed | the same, then last-call  | | protocol  | whatever the protocol in charge waits for      |
 * its `expired`              | its `draining`            | | last-call | what a client sent before it knew of the drain
 * | ends if nothing is owed    | (is entered by a drain)   | | lingering | the peer's FIN; ours is sent
 *   | the connection is cut      | the same, much sooner     |
 *
 * A connection in `lingering` sends no second FIN. In every other state it may send one when nothing is owed.
 */
export type ConnectionState = Holding | "idle" | "settled" | "throttled" | "protocol" | "last-call" | "lingering";

/** The states in which an unfinished message is held. */
export type Holding = "prefix" | "quiet" | "message";

/** Whether nothing has begun since the last message. */
export function isBetweenMessages(state: ConnectionState): boolean {
  return state === "idle" || state === "last-call";
}
