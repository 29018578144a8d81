/** AI agents, as the official SDK has them. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

/** A client that is connected, with its count of news about the tools. */
export class Agent implements AsyncDisposable {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  changes = 0;

  constructor(url: string, token?: string) {
    this.client = new Client({ name: "test", version: "1" });
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    this.transport = new StreamableHTTPClientTransport(new URL("/mcp", url), { requestInit: { headers } });
    this.client.setNotificationHandler(ToolListChangedNotificationSchema, () => void this.changes++);
  }

  static async connect(url: string, token?: string): Promise<Agent> {
    const agent = new Agent(url, token);
    // The SDK's own type of it does not fit exactOptionalPropertyTypes.
    await agent.client.connect(agent.transport as Parameters<Client["connect"]>[0]);
    return agent;
  }

  /** @returns the texts of a tool's result, and whether it is an error */
  async call(name: string, input?: Record<string, unknown>): Promise<{ text: string; isError: boolean }> {
    const { content, isError } = await this.client.callTool({ name, arguments: input });
    const texts = (content as { text: string }[]).map(({ text }) => text);
    return { text: texts.join("\n"), isError: isError === true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}
