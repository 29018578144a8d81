/** What the procedures share. */
import { type ServiceContext, ServiceError } from "hrmr";
import type { Guarded } from "../access";
import { refusalOf } from "../refusal";
import type { WatchGuards } from "../watch/guards";

/** The part of a call's context that is used here. */
export type Asked = Guarded & Pick<ServiceContext<{ readonly guards: WatchGuards }>, "asker" | "signal" | "state">;

/** @throws every error that is neither a Refusal nor a StoreError */
export function serviceError(error: unknown): ServiceError {
  const { status, code, message } = refusalOf(error);
  return new ServiceError(status === 500 ? "FAILED" : code, message);
}
