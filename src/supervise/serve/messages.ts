/**
 * Messages between the master and its server processes: plain data, structured-cloned over Bun's IPC.
 */
import type { ApprovedModule } from "../../reload/versions/approved";
import type { ReloadReport } from "../../reload/operations";
import type { Agreement, Proposal } from "../../reload/vote/agree";
import type { ReloadOrder } from "../../reload/order";
import type { ProcessSnapshot, ServerInfo } from "../../observe/snapshot";
import type { ServerStart } from "../../server/server";
import type { ReloadOutcome } from "../../reload/verdict/report";
import type { StartSummary } from "./group";

/** The first message to a process that will serve, in answer to its `begun`. The descriptors are those it inherits. */
export type ChildStart = Omit<ServerStart, "log" | "uplink" | "agree">;

/** The modules that a process serves, and the files that they were built from (`RunningServer`). */
interface Served {
  readonly approved: ApprovedModule[];
  readonly inputs: Record<string, string[]>;
}

/** Questions to a process, by number; `answer` has the answers. */
export interface ChildCalls {
  reload(order: ReloadOrder): { outcome: ReloadOutcome } & Served;
  snapshot(): ProcessSnapshot;
}

/** Questions to the master. */
export interface MasterCalls {
  reload(order: ReloadOrder): ReloadReport;
  crashed(name: string, number: number, reason: string, isLoop: boolean): boolean;
  snapshots(): { info: ServerInfo; processes: ProcessSnapshot[] };
  /** The vote of a reload: sends this process's proposal, and returns the decision. */
  agree(proposal: Proposal): Agreement;
}

export type Answer =
  { readonly value: unknown } | { readonly error: { readonly message: string; readonly hint: string | null } };

export type ToChild =
  | { readonly type: "start"; readonly start: ChildStart }
  | { readonly type: "ask"; readonly id: number; readonly what: keyof ChildCalls; readonly args: readonly unknown[] }
  | { readonly type: "answer"; readonly id: number; readonly answer: Answer }
  | { readonly type: "drain"; readonly reason: string }
  | { readonly type: "cut"; readonly reason: string }
  | { readonly type: "reopenLogs" }
  | Published;

export type ToMaster =
  | { readonly type: "begun" }
  | ({ readonly type: "ready"; readonly summary: StartSummary } & Served)
  | {
      readonly type: "failed";
      readonly message: string;
      readonly hint: string | null;
      readonly code: string | null;
      readonly exitCode: number;
    }
  | { readonly type: "ask"; readonly id: number; readonly what: keyof MasterCalls; readonly args: readonly unknown[] }
  | { readonly type: "answer"; readonly id: number; readonly answer: Answer }
  | { readonly type: "stop"; readonly reason: string }
  | Published;

/** A message that a module published to its WebSockets, on its way to other processes. */
export interface Published {
  readonly type: "published";
  readonly module: string;
  readonly topic: string;
  readonly data: unknown;
}
