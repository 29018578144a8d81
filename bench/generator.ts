/** The owner's side of the load generator's process. */
import { join } from "node:path";
import type { LoadResult, LoadSpec, Opening, Order } from "./load";

export class Generator {
  readonly #child: Bun.Subprocess;
  readonly #waiting = new Map<number, PromiseWithResolvers<LoadResult | null>>();
  #lastId = 0;

  constructor() {
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, "load.ts")], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: { id: number; result: LoadResult | null; error: string | null }) => {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.error === null) waiting?.resolve(message.result);
        else waiting?.reject(new Error(message.error));
      },
    });
    void this.#child.exited.then((code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the load generator ended with ${code}`));
    });
  }

  /** Opens a load's connections and checks one reply. @param load a name for it */
  async open(load: string, spec: LoadSpec): Promise<void> {
    await this.#order({ do: "open", load, spec });
  }

  /** Full speed for that long; resolves after the last reply. @throws Error on a wrong or missing reply */
  async run(load: string, ms: number): Promise<LoadResult> {
    const result = (await this.#order({ do: "run", load, ms })) as LoadResult;
    if (result.problem !== null) throw new Error(`${load}: ${result.problem}`);
    return result;
  }

  /** Full speed until `stop`. */
  async start(load: string): Promise<void> {
    await this.#order({ do: "start", load });
  }

  /** Never rejects for errors of the server: they are in the result. */
  async stop(load: string): Promise<LoadResult> {
    return (await this.#order({ do: "stop", load })) as LoadResult;
  }

  /** Opens connections that send nothing, or only `opening`. @returns how many are open */
  async hold(port: number, connections: number, opening?: Opening): Promise<number> {
    return ((await this.#order({ do: "hold", port, connections, opening })) as LoadResult).requests;
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    await this.#order({ do: "close" });
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  #order(order: Order): Promise<LoadResult | null> {
    const waiting = Promise.withResolvers<LoadResult | null>();
    const id = ++this.#lastId;
    this.#waiting.set(id, waiting);
    this.#child.send({ id, order });
    return waiting.promise;
  }
}
