/**
 * A web app with hono. It gets every HTTP path that no more specific route of a module takes.
 *
 *   hrmr add hono
 *   curl localhost:8080/NAME
 */
import { Hono } from "hono";

const app = new Hono().basePath("/NAME");

app.get("/", (c) => c.text("Hello from NAME\n"));

app.get("/hello/:name", (c) => c.json({ hello: c.req.param("name") }));

export default app;
