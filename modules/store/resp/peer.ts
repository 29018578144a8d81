/** One client: what it has selected, named and shown. */
import type { Connection, ModuleContext, Session } from "hrmr";
import type { Cursors } from "./cursors";
import { type Air, type Positions, Subscriptions } from "./pubsub/subscriptions";
import { Writer } from "./writer";

/** What all clients share. */
export interface Face extends Air {
  readonly context: Pick<ModuleContext, "store" | "access" | "events" | "log">;
  readonly cursors: Cursors;
  readonly peers: Set<Peer>;
  /** In milliseconds since 1970. */
  readonly startedAt: number;
}

/** What SELECT takes. */
export const COLLECTION = /^[A-Za-z0-9_.-]{1,64}$/;
export const FIRST_COLLECTION = "0";

/** Stays with the connection when a new version of the module takes it over. Plain data. */
export interface PeerData {
  version: 2 | 3;
  collection: string;
  name: string;
  library: { name: string; version: string };
  /** That of the token which the client has shown here. null: it has shown none. */
  session: Session | null;
  /** The commands behind MULTI. null: it has not been sent. */
  queue: (readonly Uint8Array[])[] | null;
  /** That of the last SELECT among them. null: none is. */
  queuedCollection: string | null;
  /** One of them was refused, so that EXEC must fail. */
  isQueueBroken: boolean;
  /** By collection, the versions of keys. */
  readonly watched: Map<string, Map<string, number>>;
  /** What it hears, and where it is in it. */
  readonly heard: Positions;
  /** Bytes of a command that is not whole. */
  rest: Uint8Array;
}

export class Peer {
  readonly connection: Connection;
  readonly face: Face;
  readonly out = new Writer();
  readonly data: PeerData;
  readonly since = Date.now();
  readonly hears: Subscriptions;
  lastCommand = "NULL";
  /** The connection ends behind the replies. */
  isEnding = false;

  constructor(connection: Connection, face: Face) {
    this.connection = connection;
    this.face = face;
    this.data = { ...freshData(), ...(connection.data as PeerData | undefined) };
    connection.data = this.data;
    this.out.version = this.data.version;
    this.hears = new Subscriptions(this);
  }

  get id(): number {
    return this.connection.client.connection;
  }

  /** @returns the error that is the reply; null: it may */
  refusal(action: string): string | null {
    const { client, session } = this.connection;
    const refusal = this.face.context.access.refusal({ client, session: this.data.session ?? session }, action);
    if (refusal === null) return null;
    if (refusal.code === "UNAUTHENTICATED") return NO_AUTH;
    return `NOPERM ${refusal.message}`;
  }

  /** Whether the client must show a token before anything else. */
  get isStranger(): boolean {
    return this.refusal(`store:${this.data.collection}:read`) === NO_AUTH;
  }

  /** The collection that the next command will be about: a SELECT behind MULTI has not run yet. */
  get nextCollection(): string {
    return this.data.queuedCollection ?? this.data.collection;
  }

  /** To RESP2 or 3. */
  speak(version: 2 | 3): void {
    this.data.version = version;
    this.out.version = version;
  }

  /** As a connection that has just begun. */
  reset(): void {
    this.hears.clear();
    Object.assign(this.data, freshData());
    this.speak(2);
  }
}

const NO_AUTH = "NOAUTH Authentication required.";

function freshData(): PeerData {
  return {
    version: 2,
    collection: FIRST_COLLECTION,
    name: "",
    library: { name: "", version: "" },
    session: null,
    queue: null,
    queuedCollection: null,
    isQueueBroken: false,
    watched: new Map(),
    heard: { channel: new Map(), pattern: new Map() },
    rest: new Uint8Array(0),
  };
}
