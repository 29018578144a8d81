/**
 * `fetch`'s second argument: the module's context with the parts of one request. The same for every version of HTTP,
 * and on the pool.
 */
import { logWith } from "../../observe/log/fields";
import type { Client, Log, RequestContext, Session } from "../contract";
import { ANONYMOUS, type Sessions } from "../session";
import { TRAILERS, type TrailerSource } from "./trailers";

/**
 * An X-Request-Id of a client or a proxy that is accepted for logs: printable, without spaces, at most 128 characters.
 */
const SANE_ID = /^[\w.:;,@+/=~-]{1,128}$/;

// Two runs, or two servers behind one proxy, must not use the same ids.
const idPrefix = crypto.randomUUID().slice(0, 8);
let lastId = 0;

/**
 * @param given  the request's X-Request-Id; null: it has none
 * @returns the given one if it is sane, otherwise a new one; its prefix of 32 random bits makes it unique among servers
 */
function requestIdFrom(given: string | null): string {
  if (given !== null && SANE_ID.test(given)) return given;
  lastId += 1;
  return `${idPrefix}-${lastId.toString(36)}`;
}

/** The source of a request's id and trailers: the request, or another context of it. */
type IdSource = ({ readonly headers: Headers } | { readonly requestId: string }) &
  ({ readonly [TRAILERS]: TrailerSource } | TrailerSource);

/** The source of a request's client and session: its connection, its message on a host, or another context of it. */
interface Wire {
  readonly client: Client;
  /** The connection's, or the request's own if there is no `dispatch`. Default: ANONYMOUS. */
  readonly session?: Session;
  readonly dispatch?: { readonly sessions?: Sessions };
}

type ContextClass = new (
  wire: Wire,
  path: string,
  route: string,
  params: Record<string, string>,
  id: IdSource,
) => RequestContext;

// One class for each generation: an Object.create() for each request costs more than the call itself.
const contextClasses = new WeakMap<object, ContextClass>();
let lastContext: object | null = null;
let lastClass: ContextClass | null = null;

/**
 * Makes the context of one request. The parameters are not an object, to save an allocation for each request.
 *
 * @param context the module's own, which it inherits from
 * @param wire gives the client, but only when the module reads it
 * @param path    in its canonical spelling
 * @param route   the route's key; "": no route matched
 * @param id the request, or another context of the same request; read as late
 */
export function requestContext(
  context: object,
  wire: Wire,
  path: string,
  route: string,
  params: Record<string, string>,
  id: IdSource,
): RequestContext {
  if (lastContext !== context || lastClass === null) {
    lastClass = contextClasses.get(context) ?? makeContextClass(context);
    contextClasses.set(context, lastClass);
    lastContext = context;
  }
  return new lastClass(wire, path, route, params, id);
}

function makeContextClass(context: object): ContextClass {
  const log = (context as { readonly log?: Log }).log;
  class RequestContextOfModule {
    readonly path: string;
    readonly route: string;
    readonly params: Record<string, string>;
    readonly #wire: Wire;
    readonly #source: IdSource;
    #id: string | null = null;
    #session: Session | null = null;

    constructor(wire: Wire, path: string, route: string, params: Record<string, string>, id: IdSource) {
      this.#wire = wire;
      this.path = path;
      this.route = route;
      this.params = params;
      this.#source = id;
    }

    get client(): Client {
      return this.#wire.client;
    }

    get session(): Session {
      const wire = this.#wire;
      const source = this.#source;
      const sessions = wire.dispatch?.sessions;
      if (sessions === undefined || !("headers" in source)) return wire.session ?? ANONYMOUS;
      if (this.#session !== null) return (this.#session = sessions.current(this.#session));
      return (this.#session = sessions.ofRequest(source.headers, wire.client, wire.session ?? ANONYMOUS));
    }

    /** Lines that are logged while a request is answered name its connection. */
    get log(): Log | undefined {
      return log && logWith(log, { connection: this.#wire.client.connection });
    }

    get requestId(): string {
      const source = this.#source;
      return (this.#id ??= "headers" in source ? requestIdFrom(source.headers.get("x-request-id")) : source.requestId);
    }

    get requestTrailers(): Promise<Headers> {
      return this.#trailers.requestTrailers;
    }

    get responseTrailers(): Headers {
      return this.#trailers.responseTrailers;
    }

    get #trailers(): TrailerSource {
      const source = this.#source;
      return TRAILERS in source ? source[TRAILERS] : source;
    }
  }
  Object.setPrototypeOf(RequestContextOfModule.prototype, context);
  return RequestContextOfModule as unknown as ContextClass;
}
