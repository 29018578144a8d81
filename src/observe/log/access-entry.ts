/** The entries of the access log. */

/**
 * The protocol of a message: "raw" is a text or binary message without HTTP, "websocket" the opening of a WebSocket.
 */
export type AccessProtocol = "raw" | "http/1.1" | "h2" | "websocket";

/**
 * One answered message or request. Text from the peer (method, path) is unchanged: the access log escapes and cuts it.
 */
export interface AccessEntry {
  /** The client's address; "unix" for a unix socket. */
  readonly address: string;
  /** The connection's number. */
  readonly connection: number;
  /** null: no route took it (404, "no module is bound"). */
  readonly module: string | null;
  /** The module's version; null: as above. */
  readonly generation: number | null;
  readonly protocol: AccessProtocol;
  /** The route's key; null: no route. */
  readonly key: string | null;
  /** Of HTTP only. */
  readonly method?: string;
  /** HTTP only: the target, unchanged. The log leaves out the part behind "?", since it may hold secrets. */
  readonly path?: string;
  /** Of HTTP only. */
  readonly status?: number;
  /** Bytes sent, with the head if its size is known. */
  readonly bytes: number;
  /** From the message's last byte, or a request's head, until the system has the reply's last byte. In milliseconds. */
  readonly ms: number;
}
