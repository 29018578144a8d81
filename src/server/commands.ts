/**
 * The built-in commands RELOAD, CLOSE, SHUTDOWN, HELP and STATUS, as routes like any other: words at the beginning of a
 * message, with or without a line end.
 */
import type { CommandPolicy } from "../config/options";
import type { Client, Message } from "../module/contract";
import type { BoundRoute, RouteOwner } from "../module/route";
import { escapeBytes, noModuleError } from "../router/escape";
import { CLOSE_CONNECTION } from "./replies";

/** What the commands act on. */
export interface CommandActions {
  /** @param name one module; null: all. @returns the verdict's text */
  reloadModules(name: string | null): Promise<string>;
  /** Begins the shutdown and returns at once. */
  requestShutdown(client: Client): void;
  help(): string;
  status(): string;
}

type Command = (argument: string, client: Client) => unknown;

/** Owns what is the server's own: nothing of it is ever replaced or unloaded. */
export const BUILT_IN: RouteOwner = {
  name: "hrmr",
  id: 0,
  number: 0,
  context: {},
  unavailable: null,
  run: (fn, ...args) => fn(...args),
  enter: () => {},
  leave: () => {},
};

/** @returns one route a command; with the policy "off" they answer as if there were none, but no module can take their words */
export function commandRoutes(policy: CommandPolicy, actions: CommandActions): BoundRoute[] {
  const commands: [string, string, boolean, Command][] = [
    [
      "RELOAD",
      "Load what changed in the modules folder; RELOAD NAME: only that module",
      true,
      (name) => actions.reloadModules(name === "" ? null : name),
    ],
    ["CLOSE", "Close this connection", false, () => CLOSE_CONNECTION],
    ["SHUTDOWN", "Finish what is under way and stop the server", false, (_, client) => shutdown(actions, client)],
    ["HELP", "This list", false, () => actions.help()],
    ["STATUS", "Uptime, connections, modules and their versions, as JSON", false, () => actions.status()],
  ];
  return commands.map(([key, description, takesArgument, run], index) => ({
    key,
    index,
    kind: "command",
    run: "inline",
    timeoutMs: 0,
    description: policy === "off" ? "" : description,
    module: BUILT_IN.name,
    keyBytes: key.length,
    framing: "line",
    handler: (message: Message) => runCommand(key, takesArgument, policy, run, message),
    generation: BUILT_IN,
    isUnavailable: false,
  }));
}

function runCommand(key: string, takesArgument: boolean, policy: CommandPolicy, run: Command, message: Message): unknown {
  const argument = message.text.slice(key.length).trim();
  // "HELP me" is somebody's text, not the command.
  if (policy === "off" || (argument !== "" && !takesArgument)) return noModuleError(message.bytes);
  // A datagram's sender can be forged, and a small question gets a large answer.
  if (message.client.transport === "udp") return `ERR ${key} is not taken over UDP\n`;
  if (policy === "loopback" && !message.client.isLocal && key !== "CLOSE") {
    return `ERR ${key} is for clients on this machine only (start hrmr with --commands anyone to allow it)\n`;
  }
  if (/\s/.test(argument)) return `ERR RELOAD takes one module's name, not "${escapeBytes(Buffer.from(argument), 64)}"\n`;
  return run(argument, message.client);
}

function shutdown(actions: CommandActions, client: Client): string {
  actions.requestShutdown(client);
  return "OK shutting down\n";
}
