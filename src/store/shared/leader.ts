/**
 * The side of the process that leads: it tells the server's other processes of changes. Where only one process has the
 * database, it also commits and reads for them.
 */
import { chmodSync, rmSync } from "node:fs";
import type { UnixSocketListener } from "bun";
import { type Flat, type FlatReader, pushResult, readCommit } from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type { Commit, CommitResult, StoredChange } from "../../module/store/port";
import { asHost } from "../../system/leave-graph";
import { PRIVATE_FILE } from "../../system/private-files";
import { userOf } from "../../system/sockets";
import type { Backend } from "../backend";
import { storeError, type Writer } from "../writer";
import { Link } from "./link";
import { FROM_LEADER, PROTOCOL, READ, TO_LEADER } from "./messages";
import { atOnce, partsOf, pushChanges, readFor } from "./served-reads";

interface LeaderOwner {
  readonly backend: Backend;
  /** Commits and reads of the others. null: each process has the database open itself. */
  readonly writer: () => Writer | null;
  /** Of the newest change. */
  readonly version: () => number;
  /** Another process has written to the database itself. */
  readonly wrote: () => void;
}

interface Peer {
  readonly link: Link;
  /** It has said hello, in this form of the messages. */
  isKnown: boolean;
  /** It asks for nothing more. */
  hasLeft: boolean;
}

/** How long the others may take to stop asking. In milliseconds. */
const LEAVE_MS = 1000;
const LEAVE_STEP_MS = 2;
/** Changes for a process that has missed some, read at a time. */
const MISSED_STEP = 1000;

export class LeaderSide {
  readonly #owner: LeaderOwner;
  readonly #peers = new Set<Peer>();
  #listener: UnixSocketListener<Link> | null = null;
  /** Of others, without an answer. */
  #open = 0;

  constructor(owner: LeaderOwner) {
    this.#owner = owner;
  }

  /** @param path in a folder of this user alone. @throws Error: the socket cannot be made */
  listen(path: string): void {
    // One of a process with the same id that has ended.
    rmSync(path, { force: true });
    this.#listener = asHost(() =>
      Bun.listen<Link>({ unix: path, socket: { ...Link.handlers, open: (socket) => this.#accept(socket) } }),
    );
    this.#listener.unref();
    chmodSync(path, PRIVATE_FILE);
  }

  #accept(socket: Bun.Socket<Link>): void {
    const user = userOf((socket as unknown as { readonly fd?: number }).fd ?? -1);
    const link: Link = new Link({
      received: (message) => this.#receive(peer, message),
      closed: () => void this.#peers.delete(peer),
    });
    const peer: Peer = { link, isKnown: false, hasLeft: false };
    socket.data = link;
    if (user !== null && user !== process.getuid?.()) link.close();
    else this.#peers.add(peer);
    link.opened(socket);
  }

  /** Tells the others that the database has changes. @param except  the link of the process that has made them */
  tell(changes: readonly StoredChange[], except: Link | null = null): void {
    const peers = [...this.#peers].filter(({ link, isKnown }) => isKnown && link !== except);
    if (peers.length === 0) return;
    const messages = this.#owner.writer() === null ? [NEWS] : partsOf(changes).map(changesMessage);
    for (const message of messages) for (const { link } of peers) link.send(message);
  }

  /** Resolves when the others ask for nothing more and have all answers, or after some time. Never rejects. */
  async leave(): Promise<void> {
    const peers = [...this.#peers].filter(({ isKnown }) => isKnown);
    for (const { link } of peers) link.send([FROM_LEADER.leaving]);
    const endsAt = performance.now() + LEAVE_MS;
    const isBusy = (): boolean => this.#open > 0 || peers.some((peer) => this.#peers.has(peer) && !peer.hasLeft);
    while (isBusy() && performance.now() < endsAt) await asHost(() => Bun.sleep(LEAVE_STEP_MS));
  }

  /** The others look for another process that leads. */
  close(): void {
    // It removes the socket.
    this.#listener?.stop();
    for (const { link } of this.#peers) link.end();
  }

  // ---- what the others say ----

  #receive(peer: Peer, message: FlatReader): void {
    const { link } = peer;
    const kind = message.number();
    if (kind === TO_LEADER.hello) return this.#welcome(peer, message);
    if (!peer.isKnown) throw new TypeError("a process has not said which form of the messages it has");
    switch (kind) {
      case TO_LEADER.wrote:
        this.#owner.wrote();
        return this.tell([], link);
      case TO_LEADER.commits:
        return void this.#commit(link, this.#served(), message.number(), message.many(readCommit));
      case TO_LEADER.read:
        return this.#readFor(link, this.#served(), message);
      case TO_LEADER.left:
        peer.hasLeft = true;
        return;
      default:
        throw new TypeError("a message of a process has an unknown kind");
    }
  }

  #welcome(peer: Peer, message: FlatReader): void {
    if (message.number() !== PROTOCOL) throw new TypeError("a process is of another version of hrmr");
    const seen = message.numberOrNull();
    peer.isKnown = true;
    peer.link.send([FROM_LEADER.welcome, this.#owner.version()]);
    if (this.#owner.writer() === null) peer.link.send(NEWS);
    else if (seen !== null) this.#tellMissed(peer.link, seen);
  }

  #tellMissed(link: Link, seen: number): void {
    for (let from = seen; ;) {
      const changes = atOnce(this.#owner.backend.changesAfter(from, MISSED_STEP));
      if (changes === null) return link.send([FROM_LEADER.lost]);
      for (const part of partsOf(changes)) link.send(changesMessage(part));
      if (changes.length < MISSED_STEP) return;
      from = changes.at(-1)?.version ?? from;
    }
  }

  async #commit(link: Link, writer: Writer, number: number, commits: readonly Commit[]): Promise<void> {
    this.#open++;
    const outcomes = await Promise.all(
      commits.map(async (commit): Promise<CommitResult | StoreError> => {
        try {
          return await writer.commit(commit);
        } catch (error) {
          return storeError(error);
        }
      }),
    );
    this.#open--;
    const answer: Flat = [FROM_LEADER.done, number, outcomes.length];
    for (const outcome of outcomes)
      if (outcome instanceof StoreError) answer.push(0, outcome.code, outcome.message);
      else {
        answer.push(1);
        pushResult(answer, outcome);
      }
    link.send(answer);
  }

  #readFor(link: Link, writer: Writer, message: FlatReader): void {
    const number = message.number();
    const kind = message.number();
    const work = readFor(this.#owner.backend, kind, message);
    const isAboutIndex = kind === READ.buildIndex || kind === READ.dropIndex;
    void this.#answer(link, number, async () => await (isAboutIndex ? writer.between(work) : writer.read(work)));
  }

  async #answer(link: Link, number: number, work: () => Promise<Flat>): Promise<void> {
    this.#open++;
    try {
      link.send([FROM_LEADER.answer, number, ...(await work())]);
    } catch (error) {
      const { code, message } = storeError(error);
      link.send([FROM_LEADER.refusal, number, code, message]);
    } finally {
      this.#open--;
    }
  }

  #served(): Writer {
    const writer = this.#owner.writer();
    if (writer === null) throw new TypeError("a process asks for what it has itself");
    return writer;
  }
}

/** The database has changes: read them there. */
const NEWS: Flat = [FROM_LEADER.changes, 0];

function changesMessage(changes: readonly StoredChange[]): Flat {
  const message: Flat = [FROM_LEADER.changes];
  pushChanges(message, changes);
  return message;
}
