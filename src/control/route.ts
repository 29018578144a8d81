/** Requests to the control API, and the routes that answer them. */
import type { Operations } from "../reload/operations";
import type { Answered } from "./audit";
import type { Body } from "./body";

/** A request with its sender. */
export interface ControlCall {
  readonly request: Request;
  /** Who asks, for the audit log. */
  readonly by: string;
  /** The NAME in the path, decoded; "": the path has none. */
  readonly module: string;
}

/** Looks at the server, and changes nothing. */
export interface LookRoute {
  readonly method: "GET";
  answer(operations: Operations, call: ControlCall): Promise<Response> | Response;
}

/** An order to the server. The audit log keeps its outcome. */
export interface ActRoute {
  readonly method: "POST" | "DELETE";
  /** Its name in the audit log. */
  readonly action: string;
  /** Keys that the JSON body may have. Default: none. null: the route reads the body itself. */
  readonly keys?: readonly string[] | null;
  /** The reply's status if it succeeded. Default 200. */
  readonly status?: number;
  /** @returns the reply's JSON */
  act(operations: Operations, body: Body, call: ControlCall): Promise<Answered> | Answered;
}

export type Route = LookRoute | ActRoute;
