/** Decides whether a server may start without tokens. A pure function. */
import { formatListen, isReachable, type ListenAddress } from "../../config/listen";
import type { AccessOptions } from "../../config/options";
import { UserError } from "../../config/user-error";

/** A server that is about to listen. */
interface Start {
  readonly required: AccessOptions["required"];
  readonly listen: readonly ListenAddress[];
  /** The parts in use that need a token: "procedures", "events", "the store". */
  readonly guards: readonly string[];
  /** Whether there is a token that is not expired. */
  readonly hasToken: boolean;
}

/**
 * Refuses to start a server that other machines can reach, that guards something and that has no token. Clients of
 * other machines could do nothing, and the owner would only learn of it from them.
 *
 * @throws UserError TOKENS_NEEDED with what to do
 */
export function mustHaveToken({ required, listen, guards, hasToken }: Start): void {
  // A datagram cannot show a token.
  const open = listen.find((address) => address.transport !== "udp" && isReachable(address));
  if (open === undefined || hasToken || required === false || (required === "auto" && guards.length === 0)) return;
  const why = required === true ? ["access.required is true", ...guards] : guards;
  throw new UserError(
    `${formatListen(open)} can be reached from other machines, and there is no token that their clients could show (${why.join(", ")}).`,
    {
      code: "TOKENS_NEEDED",
      hint: "Make one: hrmr token add NAME --scope 'rpc:*'. Or listen on 127.0.0.1 only. Or set access.required to false: then nobody needs one.",
    },
  );
}

/** A module that serves. */
interface Serving {
  readonly name: string;
  /** It comes with hrmr. A user's module of the same name decides itself who may use it. */
  readonly isShipped: boolean;
  /** Clients can call a service of it. */
  readonly hasProcedures: boolean;
}

/** @returns the parts in use that need a token, for people: "procedures". Modules' own routes never need one */
export function guardsOf(modules: readonly Serving[]): string[] {
  const areCalled = modules.some(({ hasProcedures }) => hasProcedures);
  const areHeard = modules.some(({ name, isShipped }) => name === "events" && isShipped);
  const isStoreOpen = modules.some(({ name, isShipped }) => name === "store" && isShipped);
  return [...(areCalled ? ["procedures"] : []), ...(areHeard ? ["events"] : []), ...(isStoreOpen ? ["the store"] : [])];
}
