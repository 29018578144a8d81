/**
 * A program in Python as a module: figures.py answers requests of JSON-RPC on its standard input. Here they come from
 * raw clients, over HTTP, and from other modules, which call it as a service: services.figures.describe({ numbers })
 *
 *   printf 'FIGURES 3 1 2\n' | nc -N localhost 8080     # -> "median": 2.0
 *   curl -d '[4, 8, 15]' localhost:8080/figures         # -> "median":8
 */
import { defineModule } from "hrmr";

export default defineModule({
  // The server starts it, starts it again if it ends, and replaces it when one of the two files changes.
  program: {
    command: ["python3", "figures.py"],
    protocol: "json-rpc",
    routes: ["FIGURES "],
    services: ["describe"],
    description: "FIGURES numbers: their mean and their median",
  },
  routes: {
    "POST /figures": {
      description: "a list of numbers: their mean and their median",
      async fetch(request, { services }): Promise<Response> {
        try {
          return Response.json(await services.figures.describe({ numbers: await request.json() }));
        } catch (error) {
          return Response.json({ error: (error as Error).message }, { status: 400 });
        }
      },
    },
  },
});
