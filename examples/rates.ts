/**
 * An API of others, with a cache: what is fresh is answered at once; so is what is stale, and fetched anew behind the
 * answer. For each key one request is under way, however many clients wait. Settings, in hrmr.json:
 * { "modules": { "rates": { "url": "https://rates.example/v1", "freshMs": 60000, "staleMs": 3600000 } } }
 *
 *   curl localhost:8080/rates/EUR     # -> set modules.rates.url in hrmr.json
 */
import { defineModule, service, ServiceError } from "hrmr";

const TIMEOUT_MS = 5000;
const MAX_KEYS = 1000;

interface Entry {
  value: unknown;
  at: number;
}

interface State {
  url: string | null;
  freshMs: number;
  staleMs: number;
  /** The one fetched last is the last. */
  entries: Map<string, Entry>;
  underWay: Map<string, Promise<Entry>>;
}

async function fetchEntry(key: string, { url, entries }: State): Promise<Entry> {
  // The client that asked first may leave, and others wait: so the request has a time of its own.
  const response = await fetch(`${url}/${encodeURIComponent(key)}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new ServiceError("UPSTREAM", `the rates answered ${response.status}`);
  const entry = { value: await response.json(), at: Date.now() };
  entries.delete(key);
  entries.set(key, entry);
  const [oldest] = entries.keys();
  if (entries.size > MAX_KEYS && oldest !== undefined) entries.delete(oldest);
  return entry;
}

function refresh(key: string, state: State): Promise<Entry> {
  const present = state.underWay.get(key);
  if (present !== undefined) return present;
  const fetched = fetchEntry(key, state).finally(() => state.underWay.delete(key));
  state.underWay.set(key, fetched);
  return fetched;
}

async function read(key: string, state: State): Promise<unknown> {
  if (typeof key !== "string" || !/^[A-Z]{3}$/.test(key)) throw new ServiceError("BAD_KEY", "a key has three letters");
  if (state.url === null) throw new ServiceError("NO_URL", "set modules.rates.url in hrmr.json");
  const entry = state.entries.get(key);
  const ageMs = Date.now() - (entry?.at ?? 0);
  if (entry === undefined || ageMs > state.staleMs) return (await refresh(key, state)).value;
  // Nobody waits for it. If it fails, the stale value holds, and the next client tries again.
  if (ageMs >= state.freshMs) refresh(key, state).catch(() => {});
  return entry.value;
}

export default defineModule({
  setup: async ({ config, shared }): Promise<State> => ({
    url: typeof config.url === "string" ? config.url : null,
    freshMs: Number(config.freshMs ?? 60_000),
    staleMs: Number(config.staleMs ?? 3_600_000),
    // Plain data stays over reloads. A promise would keep the version that made it in memory.
    entries: await shared.open("entries", () => new Map<string, Entry>()),
    underWay: new Map(),
  }),
  services: {
    get: service({ public: true, call: (input: { key: string }, { state }) => read(input?.key, state) }),
  },
  routes: {
    "GET /rates/:key": {
      description: "the rates of a currency, at most an hour old",
      async fetch(_request, { state, params }) {
        try {
          return Response.json(await read(params.key, state));
        } catch (error) {
          if (error instanceof ServiceError && error.code === "BAD_KEY")
            return new Response(`${error.message}\n`, { status: 400 });
          return new Response(`${error instanceof ServiceError ? error.message : "the rates are away"}\n`, {
            status: 503,
          });
        }
      },
    },
  },
});
