/** Messages of a raw connection whose answers come in any order, such as those of JSON-RPC. */
import type { Client, Session } from "../../module/contract";

/** The connection, as a talk sees it. */
export interface TalkLine {
  readonly client: Client;
  /** As it is now. */
  readonly session: Session;
  /**
   * Sends a line, or several, each with its LF, behind the replies that are owed.
   *
   * @returns false: wait for `drained` before the next
   */
  say(lines: string): boolean;
  drained(): Promise<void>;
  /** The talk owes nothing any more. */
  settled(): void;
}

/** The talk, as the connection sees it. */
export interface Talk {
  /** Whether it owes the client an answer: the connection must not end. */
  readonly isBusy: boolean;
  /** The client is gone. */
  left(): void;
}

/** Something that has a connection's talk. */
export interface Talker<T extends Talk> {
  begin(line: TalkLine): T;
}
