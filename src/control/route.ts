/** A request to the control API, and what answers one. */
import type { Operations } from "../reload/operations";
import type { Answered } from "./audit";
import type { Body } from "./body";

/** A request and what it came with. */
export interface ControlCall {
  readonly request: Request;
  /** Who asks, for the audit log. */
  readonly by: string;
  /** The NAME of the path, decoded; "": it has none. */
  readonly module: string;
}

/** Looks at the server, and changes nothing. */
export interface LookRoute {
  readonly method: "GET";
  answer(operations: Operations, call: ControlCall): Promise<Response> | Response;
}

/** An order to the server: the audit log has what came of it. */
export interface ActRoute {
  readonly method: "POST" | "DELETE";
  /** What the audit log calls it. */
  readonly action: string;
  /** Keys that the JSON body may have. Default: none. null: the route reads the body itself. */
  readonly keys?: readonly string[] | null;
  /** Of the reply when it went well. Default 200. */
  readonly status?: number;
  /** @returns the reply's JSON */
  act(operations: Operations, body: Body, call: ControlCall): Promise<Answered> | Answered;
}

export type Route = LookRoute | ActRoute;
