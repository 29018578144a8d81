/** What the processes of a server tell each other about the store, over a socket: flat arrays that begin with a kind. */

/** Of this form of the messages. A process of another version of hrmr is not understood. */
export const PROTOCOL = 1;

/** To the leading process. */
export const TO_LEADER = {
  /** PROTOCOL, and the version of the newest change that the sender has seen; null: it needs none of before. */
  hello: 0,
  /** The sender has written to the database itself. */
  wrote: 1,
  /** A number, the number of a hold that they end (0: none), and commits. */
  commits: 2,
  /** A number, one of READ, and its fields. */
  read: 3,
  /** The answer to `leaving`: the sender asks for nothing more. */
  left: 4,
  /** The number of a hold that is over. */
  unhold: 5,
} as const;

/** Reads, and work on indexes, that a process asks of the one that leads. */
export const READ = {
  get: 0,
  list: 1,
  find: 2,
  changes: 3,
  collections: 4,
  expired: 5,
  indexes: 6,
  buildIndex: 7,
  dropIndex: 8,
  /** Nothing is read: others commit no more until the hold ends. */
  hold: 9,
} as const;

/** From the leading process. */
export const FROM_LEADER = {
  /** The hello is understood. The version of the newest change. */
  welcome: 0,
  /** Changes, in order. None: the database has some. Those behind the hello's version come first. */
  changes: 1,
  /** Changes behind the hello's version are not kept. */
  lost: 2,
  /** The number of commits, and for each a result, or a code and a message. */
  done: 3,
  /** The number of a read, and what was read. */
  answer: 4,
  /** The number of a read, a code and a message. */
  refusal: 5,
  /** This process will lead no more: what comes from now on must wait for another one. */
  leaving: 6,
} as const;
