/** The same hono app as rows/http.ts gives to hrmr, on Bun's own HTTP server. */
import { Hono } from "hono";

const app = new Hono();
app.get("/text", (c) => c.text("Hello, World!"));
app.get("/json", (c) => c.json({ message: "Hello, World!" }));
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: app.fetch });
console.log(`listening on http://127.0.0.1:${server.port}`);
