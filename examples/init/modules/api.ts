/**
 * An HTTP API: standard Request in, standard Response out. The files of static_html answer for all other paths.
 *
 *   curl localhost:8080/api/notes
 *   curl -d 'buy milk' localhost:8080/api/notes
 *   curl localhost:8080/api/notes/1                 # -> buy milk
 *
 * 8080 is the default; `hrmr` prints its address at the start.
 */
import { defineModule } from "hrmr";

/**
 * Kept in memory: it survives reloads by handoff, and ends with the server. For more, write to a file in
 * `context.dataDir`.
 */
type Notes = string[];

const MAX_NOTES = 1000;

export default defineModule({
  setup: (_context, handoff): Notes => (handoff as Notes | undefined) ?? [],
  handoff: (notes) => notes,

  routes: {
    "GET /api/notes": {
      fetch: (_request, { state: notes }) => Response.json(notes.map((text, index) => ({ id: index + 1, text }))),
    },

    "POST /api/notes": {
      async fetch(request, { state: notes }) {
        const text = (await request.text()).trim();
        if (text === "") return Response.json({ error: "send a text" }, { status: 400 });
        if (notes.length >= MAX_NOTES) return Response.json({ error: "there are too many notes" }, { status: 507 });
        const id = notes.push(text);
        return Response.json({ id, text }, { status: 201, headers: { location: `/api/notes/${id}` } });
      },
    },

    // The text in place of `:id` is in `params`, percent-decoded.
    "GET /api/notes/:id": {
      fetch(_request, { state: notes, params }) {
        const text = notes[Number(params.id) - 1];
        return text === undefined
          ? Response.json({ error: "no such note" }, { status: 404 })
          : Response.json({ id: Number(params.id), text });
      },
    },
  },
});
