/** One request of MCP and its reply: JSON if the answer is ready before any part of it, else server-sent events. */
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage, JSONRPCRequest } from "@modelcontextprotocol/sdk/types.js";
import { HttpReply } from "../rpc/reply";
import type { Progress, ToolCall } from "./call";

export class Exchange implements Transport, Progress {
  readonly reply: HttpReply;
  /** The client has disconnected. No stream can be resumed here, so nobody would get the result. */
  onLeft: (() => void) | null = null;
  onmessage?: Transport["onmessage"];
  readonly #progressToken: string | number | undefined;

  constructor({ params }: JSONRPCRequest, request: Request) {
    this.reply = new HttpReply(request, () => this.onLeft?.());
    this.#progressToken = params?._meta?.progressToken;
  }

  /** A cancelled request gets no answer (section "Cancellation"). */
  cancel(call: ToolCall): void {
    this.reply.close();
    call.end();
  }

  // ---- Transport ----

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    this.reply.end(200, JSON.stringify(message));
  }

  async close(): Promise<void> {}

  // ---- Progress ----

  part(json: string, count: number): boolean {
    if (this.#progressToken === undefined || this.reply.refusesEvents() !== null) return true;
    const params = { progressToken: this.#progressToken, progress: count, message: json };
    return this.reply.event(JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params }));
  }

  drained(): Promise<void> {
    return this.reply.drained();
  }
}
