/** A request to the control API, and what answers one. */
import type { Operations } from "../reload/operations";
import type { Body } from "./body";

/** A request and what it came with. */
export interface ControlCall {
  readonly request: Request;
  /** Who asks, for the audit log. */
  readonly by: string;
  /** The NAME of the path, decoded; "": it has none. */
  readonly module: string;
}

export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  /** Keys that the JSON body may have. Default: none. null: the route reads the body itself. */
  readonly keys?: readonly string[] | null;
  /** What the audit log calls it. Default: it is not told there. */
  readonly action?: string;
  answer(operations: Operations, body: Body, call: ControlCall): Promise<Response> | Response;
}
