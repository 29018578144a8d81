import { expect, test } from "bun:test";
import { moduleSource, shareHub } from "../../support/hub";
import { Agent } from "../../support/mcp";
import { runProgram } from "../../support/program";

const withServer = shareHub({
  "modules/bank.ts": `import { z } from "zod";\n${moduleSource(`{ services: {
    add: { public: true, mcp: true, description: "Adds two numbers", input: z.object({ a: z.number(), b: z.number() }),
      output: z.object({ sum: z.number() }), call: ({ a, b }) => ({ sum: a + b }) },
    half: { public: true, mcp: true, input: z.object({ of: z.number() }), output: z.number(), call: ({ of }) => of / 2 },
    greet: { public: true, mcp: true, call: ({ name }) => "Hello, " + name },
    private: { public: true, call: () => 1 },
  } }`)}`,
});

test("the official client lists the tools with their schemas, and calls them", () =>
  withServer(async (hub) => {
    await using agent = await Agent.connect(hub.url);
    const { tools } = await agent.client.listTools();
    expect(tools).toMatchObject([
      {
        name: "bank.add",
        description: "Adds two numbers",
        inputSchema: { type: "object", required: ["a", "b"] },
        outputSchema: { type: "object", properties: { sum: { type: "number" } } },
      },
      { name: "bank.greet", inputSchema: { type: "object" } },
      { name: "bank.half", outputSchema: { properties: { result: { type: "number" } } } },
    ]);
    expect(await agent.client.callTool({ name: "bank.add", arguments: { a: 1, b: 2 } })).toMatchObject({
      content: [{ type: "text", text: '{"sum":3}' }],
      structuredContent: { sum: 3 },
    });
    expect(await agent.client.callTool({ name: "bank.half", arguments: { of: 3 } })).toMatchObject({
      structuredContent: { result: 1.5 },
    });
    expect(await agent.call("bank.greet", { name: "bob" })).toEqual({ text: "Hello, bob", isError: false });
    await expect(agent.call("bank.private")).rejects.toThrow('there is no tool "bank.private"');
    await agent.client.ping();
  }));

test("hrmr validate names the services that say mcp: true and are no tools", () =>
  withServer(async (hub) => {
    const dir = `${hub.dir}/data/none`;
    const source = `{ services: {
      private: { mcp: true, call: () => 1 },
      mini: { mcp: true, public: true, input: mini.object({ a: mini.string() }), call: () => 1 },
      text: { mcp: true, public: true, input: z.string(), call: () => 1 },
      good: { mcp: true, public: true, input: z.object({}), call: () => 1 },
    } }`;
    hub.write(
      "data/none/modules/bank.ts",
      `import * as mini from "zod/mini";\nimport { z } from "zod";\n${moduleSource(source)}`,
    );
    const { stdout, stderr } = await runProgram(["validate"], { cwd: dir });
    const said = `${stdout}${stderr}`.replaceAll(/\s+/g, " ");
    expect(said).toContain(
      "private: it is not public: add public: true; " +
        "mini: the schema of its input cannot be written as JSON Schema; text: its input is not an object",
    );
    expect(said).not.toContain("good:");
  }));
