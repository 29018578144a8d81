/** A client as a loop: asks, looks at the answer, and asks again, on the same connection or another one. */
import type { World } from "./world";

export interface Session {
  /** The server's process; null: not known. */
  readonly pid: number | null;
  /** It takes no more questions, and has told the client in time. */
  readonly isOver: boolean;
  /** @returns the mistake in the answer, or null. Rejects if no answer came. */
  ask(n: number): Promise<string | null>;
  close(): void;
}

export interface Protocol {
  readonly name: string;
  readonly clients: number;
  /** Between two questions of one client. In milliseconds. */
  readonly pauseMs: number;
  /** Whether a server that ends tells its clients in time, so that no question may be lost. */
  readonly isTold: boolean;
  open(): Promise<Session>;
}

let lastNumber = 0;

/** Runs all clients of all protocols until the world is stopped. */
export async function runClients(world: World, protocols: readonly Protocol[]): Promise<void> {
  await Promise.all(
    protocols.flatMap((protocol) => Array.from({ length: protocol.clients }, () => runClient(world, protocol))),
  );
}

async function runClient(world: World, protocol: Protocol): Promise<void> {
  const { name, isTold, pauseMs } = protocol;
  let session: Session | null = null;
  while (!world.isStopped) {
    const askedAt = performance.now();
    try {
      if (session?.isOver) session = closed(session);
      session ??= await protocol.open();
      const problem = await session.ask(++lastNumber);
      world.tally.note(name, problem === null ? "right" : "wrong", problem);
    } catch (error) {
      const excuse = world.fates.excuse(session?.pid ?? null, askedAt, isTold);
      world.tally.note(
        name,
        excuse ?? "lost",
        error instanceof Error ? `${(error as { code?: string }).code ?? ""} ${error.message}` : String(error),
      );
      session = closed(session);
    }
    world.tally.longestMs = Math.max(world.tally.longestMs, performance.now() - askedAt);
    await Bun.sleep(pauseMs);
  }
  session?.close();
}

function closed(session: Session | null): null {
  session?.close();
  return null;
}
