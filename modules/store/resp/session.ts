/** Reads a client's commands, runs them in order, and writes the replies of what came together in one piece. */
import type { Connection } from "hrmr";
import { HEARING } from "./commands/pubsub";
import { enqueue, NEVER_QUEUED, refuse } from "./commands/transactions";
import type { Ready } from "./call";
import { type Face, Peer } from "./peer";
import { type Command, CommandReader, ProtocolError } from "./reader";
import { chosen } from "./table";
import { runTogether } from "./together";

/** Of one command, all its arguments together. */
const MAX_COMMAND_BYTES = 16_777_216;
/** Commands that are taken from the client before they run. */
const MAX_TOGETHER = 1000;
/** Replies that wait for those behind them. In bytes. */
const MAX_UNSENT = 262_144;

export async function serveResp(connection: Connection, face: Face): Promise<void> {
  const peer = new Peer(connection, face);
  face.peers.add(peer);
  try {
    await new RespSession(peer).run();
  } finally {
    await peer.hears.close();
    face.peers.delete(peer);
  }
}

class RespSession {
  readonly #peer: Peer;
  readonly #reader = new CommandReader({ maxCommandBytes: MAX_COMMAND_BYTES });
  /** The bytes are no commands: the last reply says so. */
  #broken: ProtocolError | null = null;

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  async run(): Promise<void> {
    const { connection, data } = this.#peer;
    await this.#peer.hears.goOn();
    if (data.rest.length > 0) this.#reader.push(data.rest);
    for (;;) {
      await this.#serve();
      if (this.#peer.isEnding) return void (await connection.end());
      const bytes = await connection.read();
      if (bytes === null) break;
      this.#reader.push(bytes);
    }
    // The next version goes on in the middle of a command.
    data.rest = Buffer.from(this.#reader.rest());
  }

  /** All that is whole. */
  async #serve(): Promise<void> {
    const peer = this.#peer;
    for (;;) {
      const commands = this.#take();
      for (let at = 0; at < commands.length && !peer.isEnding;) {
        at += await this.#step(commands, at);
        if (peer.out.length > MAX_UNSENT) await peer.connection.write(peer.out.take());
      }
      if (this.#broken !== null && !peer.isEnding) {
        peer.out.error(`ERR Protocol error: ${this.#broken.message}`);
        peer.isEnding = true;
      }
      if (peer.out.length > 0) await peer.connection.write(peer.out.take());
      if (commands.length === 0 || peer.isEnding) return;
    }
  }

  #take(): Command[] {
    const commands: Command[] = [];
    this.#reader.isStranger = this.#peer.isStranger;
    // What a stranger may send depends on its commands.
    const limit = this.#reader.isStranger ? 1 : MAX_TOGETHER;
    try {
      while (commands.length < limit) {
        const next = this.#reader.next();
        if (next === null) break;
        commands.push(next);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#broken = error;
    }
    return commands;
  }

  /** Runs one command or several. @returns how many */
  async #step(commands: readonly Command[], from: number): Promise<number> {
    const items: Ready[] = [];
    for (let at = from; at < commands.length; at++) {
      const args = commands[at] as Command;
      const spec = chosen(this.#peer, args, this.#peer.nextCollection);
      const isAlone = typeof spec === "string" || spec.use === "session" || spec.isLong === true || this.#isQueueing;
      // SELECT decides what the rights of those behind it are.
      if (!isAlone) items.push({ spec, args });
      if (isAlone && items.length === 0) return await this.#one(spec, args);
      if (isAlone || spec.name === "select") break;
    }
    return await runTogether(this.#peer, items);
  }

  /** Messages come behind the reply to SUBSCRIBE. */
  async #flush(): Promise<void> {
    const { connection, hears, out } = this.#peer;
    await connection.write(out.take());
    hears.begin();
  }

  get #isQueueing(): boolean {
    return this.#peer.data.queue !== null;
  }

  async #one(spec: ReturnType<typeof chosen>, args: Command): Promise<1> {
    const peer = this.#peer;
    if (typeof spec === "string") {
      if (this.#isQueueing) refuse(peer, spec);
      else peer.out.error(spec);
      return 1;
    }
    if (this.#isQueueing && !NEVER_QUEUED.has(spec.name)) enqueue(peer, { spec, args });
    else {
      await runTogether(peer, [{ spec, args }]);
      if (HEARING.has(spec.name)) await this.#flush();
    }
    return 1;
  }
}
