/**
 * An existing web app is a module without changes: a default export with a `fetch` gets every HTTP path that no other
 * module claims. Install the package beside the modules first: npm install hono
 *
 *   curl localhost:8080/
 *   curl localhost:8080/users/42
 *   curl -d '{"name":"ada"}' -H 'content-type: application/json' localhost:8080/users
 */
import { Hono } from "hono";

const app = new Hono();

app.get("/", (c) => c.text("Hello from hono\n"));

app.get("/users/:id", (c) => c.json({ id: c.req.param("id") }));

app.post("/users", async (c) => {
  const { name } = await c.req.json<{ name?: string }>();
  return name ? c.json({ created: name }, 201) : c.json({ error: "a name is missing" }, 400);
});

export default app;
