/** What the access log tells of. */

/** How a message came: "raw" is a text or binary message without HTTP, "websocket" the opening of a WebSocket. */
export type AccessProtocol = "raw" | "http/1.1" | "h2" | "websocket";

/**
 * One answered message or request. Text of the peer's (method, path) is given as it came: the access log escapes and
 * cuts it.
 */
export interface AccessEntry {
  /** The client's address; "unix" for a unix socket. */
  readonly address: string;
  /** The connection's number. */
  readonly connection: number;
  /** null: nothing took it (404, "no module is bound"). */
  readonly module: string | null;
  /** The module's version; null: as above. */
  readonly generation: number | null;
  readonly protocol: AccessProtocol;
  /** The route's key; null: no route. */
  readonly key: string | null;
  /** Of HTTP only. */
  readonly method?: string;
  /** Of HTTP only: the target as it came. What stands behind "?" is left out of the log, for secrets live there. */
  readonly path?: string;
  /** Of HTTP only. */
  readonly status?: number;
  /** Sent, the head included where it is known. */
  readonly bytes: number;
  /**
   * From the message's last byte, or a request's head, to the reply's last byte handed to the system. In milliseconds.
   */
  readonly ms: number;
}
