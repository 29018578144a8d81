/**
 * The losses of clients that reconnect when they are told to, as browsers and proxies do, while a server ends or is
 * replaced.
 */
import { makeSoakProject } from "../soak/project";
import { httpProtocols } from "../soak/http";
import type { Protocol } from "../soak/protocol";
import { SoakServer } from "../soak/server";
import { Fates, Tally } from "../soak/tally";
import type { World } from "../soak/world";
import type { Bench } from "../bench";

const KEPT_ALIVE = 48;
const FRESH = 16;

export interface Asked {
  answered: number;
  refused: number;
  /** Wrong, or without an answer. */
  readonly failures: string[];
}

/** 64 clients at full speed: 48 on connections that are kept alive, 16 with a new one for each request. */
export class Reconnecting {
  readonly asked: Asked = { answered: 0, refused: 0, failures: [] };
  readonly #ended: Promise<unknown>;
  #isStopped = false;

  constructor(protocols: readonly Protocol[]) {
    const clients = (name: string, count: number) => {
      const protocol = protocols.find((each) => each.name === name) as Protocol;
      return Array.from({ length: count }, () => this.#ask(protocol));
    };
    this.#ended = Promise.all([...clients("http keep-alive", KEPT_ALIVE), ...clients("http fresh", FRESH)]);
  }

  /** Resolves once all have their last answer. */
  async stop(): Promise<Asked> {
    this.#isStopped = true;
    return await this.ended();
  }

  /** Resolves once each was refused: nobody listens any more. */
  async ended(): Promise<Asked> {
    await this.#ended;
    return this.asked;
  }

  async #ask(protocol: Protocol): Promise<void> {
    for (let n = 1; !this.#isStopped;) {
      const session = await protocol.open().catch(() => null);
      if (session === null) return void this.asked.refused++;
      try {
        while (!this.#isStopped && !session.isOver) {
          const problem = await session.ask(n++);
          if (problem === null) this.asked.answered++;
          else this.asked.failures.push(problem);
        }
      } catch (error) {
        this.asked.failures.push(error instanceof Error ? error.message : String(error));
      } finally {
        session.close();
      }
    }
  }
}

/** Starts a server of that many processes and those clients, and ends all of it. */
export async function withReconnecting<T>(
  { program }: Bench,
  processes: number,
  use: (server: SoakServer, clients: Reconnecting, port: number) => Promise<T>,
): Promise<T> {
  const { project, flags } = await makeSoakProject(program);
  const server = await SoakServer.start(program, project.dir, processes, flags);
  try {
    const world: World = {
      port: server.portOf("tcp"),
      udpPort: server.portOf("udp"),
      project,
      tally: new Tally(),
      fates: new Fates(),
      least: { asked: 1, talk: 1 },
      newest: { asked: 1, talk: 1 },
      isStopped: false,
    };
    const clients = new Reconnecting(httpProtocols(world));
    return await use(server, clients, world.port);
  } finally {
    await server.kill();
  }
}
