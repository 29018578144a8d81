/**
 * The side of the process that leads: it commits for the server's other processes, and tells them of changes. Where only
 * one process has the database, it also reads for them.
 */
import { chmodSync, rmSync } from "node:fs";
import type { UnixSocketListener } from "bun";
import { type Flat, type FlatReader, pushResult, readCommit } from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type { Commit, CommitResult, Hold, StoredChange } from "../../module/store/port";
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
  /** Each process has the database open, and reads it itself. */
  readonly isOpenToAll: boolean;
  /** Commits of the others. null: it is not there yet. */
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
  /** By the number of the ask. */
  readonly holds: Map<number, Hold>;
}

/** How long the others may take to stop asking. In milliseconds. */
const LEAVE_MS = 3000;
const LEAVE_STEP_MS = 2;
/** Changes for a process that has missed some, read at a time. */
const MISSED_STEP = 1000;

export class LeaderSide {
  readonly #owner: LeaderOwner;
  readonly #peers = new Set<Peer>();
  #listener: UnixSocketListener<Link> | null = null;
  /** Of others, without an answer. */
  #open = 0;
  #isLeaving = false;

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
      closed: () => this.#gone(peer),
    });
    const peer: Peer = { link, isKnown: false, hasLeft: false, holds: new Map() };
    socket.data = link;
    if (user !== null && user !== process.getuid?.()) link.close();
    else this.#peers.add(peer);
    link.opened(socket);
  }

  #gone(peer: Peer): void {
    this.#peers.delete(peer);
    for (const hold of peer.holds.values()) hold.leave();
    peer.holds.clear();
  }

  /** Tells the others that the database has changes. @param except  the link of the process that has made them */
  tell(changes: readonly StoredChange[], except: Link | null = null): void {
    const peers = [...this.#peers].filter(({ link, isKnown }) => isKnown && link !== except);
    if (peers.length === 0) return;
    const messages = this.#owner.isOpenToAll ? [NEWS] : partsOf(changes).map(changesMessage);
    for (const message of messages) for (const { link } of peers) link.send(message);
  }

  /** Resolves when the others ask for nothing more and have all answers, or after some time. Never rejects. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
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
        return this.#commitFor(peer, message);
      case TO_LEADER.read:
        return this.#readFor(peer, message);
      case TO_LEADER.unhold:
        return takeHold(peer, message.number())?.leave();
      case TO_LEADER.left:
        peer.hasLeft = true;
        return;
      default:
        throw new TypeError("a message of a process has an unknown kind");
    }
  }

  #welcome(peer: Peer, message: FlatReader): void {
    if (message.number() !== PROTOCOL) throw new TypeError("a process is of another version of hrmr");
    // It comes again, and finds the next leader.
    if (this.#isLeaving) return peer.link.close();
    const seen = message.numberOrNull();
    peer.isKnown = true;
    peer.link.send([FROM_LEADER.welcome, this.#owner.version()]);
    if (this.#owner.isOpenToAll) peer.link.send(NEWS);
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

  #commitFor(peer: Peer, message: FlatReader): void {
    const number = message.number();
    const by = takeHold(peer, message.number()) ?? this.#served();
    void this.#commit(peer.link, number, message.many(readCommit), by);
  }

  async #commit(link: Link, number: number, commits: readonly Commit[], by: Pick<Writer, "commit">): Promise<void> {
    this.#open++;
    const outcomes = await Promise.all(
      commits.map(async (commit): Promise<CommitResult | StoreError> => {
        try {
          return await by.commit(commit);
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

  #readFor(peer: Peer, message: FlatReader): void {
    const { link } = peer;
    const writer = this.#served();
    const number = message.number();
    const kind = message.number();
    if (kind === READ.hold) return void this.#answer(link, number, () => this.#hold(peer, number, writer));
    const work = readFor(this.#owner.backend, kind, message);
    const isAboutIndex = kind === READ.buildIndex || kind === READ.dropIndex;
    void this.#answer(link, number, async () => await (isAboutIndex ? writer.between(work) : writer.read(work)));
  }

  async #hold(peer: Peer, number: number, writer: Writer): Promise<Flat> {
    const hold = await writer.hold();
    if (hold === null) return [0];
    if (this.#peers.has(peer)) peer.holds.set(number, hold);
    else hold.leave();
    return [1];
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
    if (writer === null) throw new TypeError("a process asks before the store is open");
    return writer;
  }
}

function takeHold(peer: Peer, number: number): Hold | null {
  const hold = peer.holds.get(number) ?? null;
  peer.holds.delete(number);
  return hold;
}

/** The database has changes: read them there. */
const NEWS: Flat = [FROM_LEADER.changes, 0];

function changesMessage(changes: readonly StoredChange[]): Flat {
  const message: Flat = [FROM_LEADER.changes];
  pushChanges(message, changes);
  return message;
}
