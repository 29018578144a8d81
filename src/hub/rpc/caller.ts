/** The client that calls a procedure. */
import type { Client, Session } from "../../module/contract";

export interface RpcCaller {
  readonly client: Client;
  /** As it is now. */
  readonly session: Session;
}
