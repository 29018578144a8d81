/** The echo procedure of rows/rpc.ts over HTTP, on hono and Bun.serve. */
import { Hono } from "hono";
import { validator } from "hono/validator";
import { z } from "zod";

const Request = z.object({
  jsonrpc: z.literal("2.0"),
  method: z.string(),
  params: z.object({ text: z.string(), count: z.number() }),
  id: z.number(),
});

// As zValidator("json", Request) of @hono/zod-validator does it.
const checked = validator("json", async (value, context) => {
  const result = await Request.safeParseAsync(value);
  return result.success ? result.data : context.json(result, 400);
});

const app = new Hono();
app.post("/rpc", checked, (context) => {
  const { params, id } = context.req.valid("json");
  return context.json({ jsonrpc: "2.0", result: params, id });
});
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: app.fetch });
console.log(`listening on http://127.0.0.1:${server.port}`);
