/** docs/debugging.md: an inspector in the server's process and in a module's. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { withHub } from "../support/hub";
import { until } from "../support/until";

const PAGE = readFileSync(join(import.meta.dir, "../../docs/debugging.md"), "utf8");
const [INLINE = "", PROCESS = ""] = [...PAGE.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);

/** A debugger that is attached. */
class Debugger implements Disposable {
  readonly #socket: WebSocket;
  readonly #seen: Said[] = [];
  #lastId = 0;

  constructor(url: string) {
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = ({ data }) => void this.#seen.push(JSON.parse(String(data)) as Said);
  }

  async attach(): Promise<void> {
    await until("the inspector", () => this.#socket.readyState === WebSocket.OPEN);
    await this.command("Debugger.enable");
    await this.command("Debugger.setBreakpointsActive", { active: true });
  }

  /** Resolves when the inspector has done it. */
  async command(method: string, params: object = {}): Promise<void> {
    const id = ++this.#lastId;
    this.#socket.send(JSON.stringify({ id, method, params }));
    await until(method, () => this.#seen.some((said) => said.id === id));
  }

  /** @returns the function in which it stopped */
  async paused(): Promise<string | undefined> {
    const said = await until("the stop", () => this.#seen.find(({ method }) => method === "Debugger.paused"));
    return said.params.callFrames[0]?.functionName;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

interface Said {
  readonly id?: number;
  readonly method?: string;
  readonly params: { readonly callFrames: readonly { readonly functionName: string }[] };
}

test("a module's process stops at a debugger statement, goes on when told, and everybody else is served meanwhile", () =>
  withHub({ "modules/apart.ts": PROCESS, "modules/other.ts": INLINE.replace("6499", "0") }, [], async (hub) => {
    await hub.program.waitFor(/apart v1 .*ws:\S+\n/);
    const url = /apart v1 .*(ws:\S+)\n/.exec(hub.program.output())?.[1] ?? "";
    using debug = new Debugger(url);
    await debug.attach();
    const client = await hub.connect();
    await client.send("WORK 12345\n");
    expect(await debug.paused()).toBe("handle");
    // The event loop has an inspector of its own, at another address.
    const other = (await hub.ask("INSPECT\n")).trim();
    expect(other).toStartWith("ws://127.0.0.1:");
    expect(other).not.toBe(url);
    expect(client.text).toBe("");
    await debug.command("Debugger.resume");
    expect(await client.waitFor("\n")).toBe("10\n");
  }));
