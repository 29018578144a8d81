/**
 * The built-in commands RELOAD, CLOSE, SHUTDOWN, HELP and STATUS, as routes like any other: words at the beginning of a
 * message, with or without a line end.
 */
import type { ControlOptions } from "../config/options";
import type { Client, Message } from "../module/contract";
import { OWN_ROUTES } from "../module/own-routes";
import type { BoundRoute } from "../module/route";
import { escapeBytes, noModuleError } from "../router/escape";
import { CLOSE_CONNECTION, LastReply } from "../protocol/raw/reply-queue";
import type { Dispatch } from "../protocol/wire";
import { orderFor } from "../reload/order";
import { whoIs } from "./connection/client";
import type { Guesses } from "../hub/access/guesses";
import { type CommandToken, type Guessers, splitToken } from "./token";
import type { Uplink } from "./uplink";
import { statusOf } from "../observe/report";

/** The objects that the commands act on and report. */
interface CommandTarget {
  readonly uplink: Pick<Uplink, "reload" | "stop" | "snapshots">;
  readonly dispatch: Dispatch;
}

type Command = (argument: string, client: Client) => unknown;

/**
 * @param control  asked at each call: a reload may change it in place
 * @param token    of the policy "token"; as long as it is not set, that is "loopback"
 * @param guesses  told of wrong tokens
 * @param guessers  see `Guessers`
 * @returns one route a command; with the policy "off" they answer as if there were none, but no module can take their
 *   words
 */
export function commandRoutes(
  control: ControlOptions,
  target: CommandTarget,
  token: CommandToken,
  guesses: Guesses,
  guessers: Guessers,
): BoundRoute[] {
  const gate: Gate = { control, token, guesses, guessers };
  const commands: [string, string, boolean, Command][] = [
    [
      "RELOAD",
      "Load changed modules; RELOAD NAME: only that module",
      true,
      (name, client) => reload(target, name, client),
    ],
    ["CLOSE", "Close this connection", false, () => CLOSE_CONNECTION],
    ["SHUTDOWN", "Finish what is under way and stop the server", false, (_, client) => shutdown(target, client)],
    ["HELP", "This list", false, () => helpText(target.dispatch)],
    ["STATUS", "Uptime, connections, modules and their versions, as JSON", false, () => status(target)],
  ];
  return commands.map(([key, description, takesArgument, run], index) => ({
    key,
    index,
    kind: "command",
    run: "inline",
    timeoutMs: 0,
    get description() {
      return control.commands === "off" ? "" : description;
    },
    module: OWN_ROUTES.name,
    keyBytes: key.length,
    framing: "line",
    handler: (message: Message) => runCommand(key, takesArgument, gate, run, message),
    generation: OWN_ROUTES,
    isUnavailable: false,
  }));
}

/** The rules that decide which clients may send commands. */
interface Gate {
  readonly control: ControlOptions;
  readonly token: CommandToken;
  readonly guesses: Guesses;
  readonly guessers: Guessers;
}

function runCommand(key: string, takesArgument: boolean, gate: Gate, run: Command, message: Message): unknown {
  // Under every policy: a token must not be taken for a module's name and be repeated in the log.
  const { rest: argument, token } = splitToken(message.text.slice(key.length).trim());
  // "HELP me" is somebody's text, not the command.
  if (gate.control.commands === "off" || (argument !== "" && !takesArgument))
    return noModuleError(token === null ? message.bytes : Buffer.from(`${key} ${argument}`));
  const refusal = refusalFor(key, gate, token, message);
  if (refusal !== null) return refusal;
  if (/\s/.test(argument))
    return `ERR RELOAD takes one module's name, not "${escapeBytes(Buffer.from(argument), 64)}"\n`;
  return run(argument, message.client);
}

/** @returns null: the client may */
function refusalFor(
  key: string,
  gate: Gate,
  given: string | null,
  { client, session }: Message,
): string | Promise<LastReply> | null {
  const { control, token } = gate;
  const { commands: policy } = control;
  const needsToken = policy === "token" && token.isSet;
  // A datagram's sender can be forged, and a small question gets a large answer.
  if (client.transport === "udp") return `ERR ${key} is not accepted over UDP\n`;
  if (policy === "anyone" || key === "CLOSE") return null;
  // Also to clients of this machine: a client that tries a wrong token must not believe that it works.
  if (needsToken && given !== null) return judgeToken(gate, given, client);
  if (client.isLocal || (needsToken && token.isHeldBy(session))) return null;
  return needsToken
    ? `ERR ${key} is for clients on this machine, and for clients that end it with token: and the server's token\n`
    : `ERR ${key} is for clients on this machine only (start hrmr with --commands anyone to allow it)\n`;
}

/** Answers a wrong token late and ends the connection, so that guessing is slow. The log reports it. */
function judgeToken({ token, guesses, guessers }: Gate, given: string, client: Client): Promise<LastReply> | null {
  const wrong = new LastReply("ERR the token is wrong\n");
  // In line behind the reply that ends the connection: nobody gets it.
  if (guessers.has(client)) return Promise.resolve(wrong);
  const mayLook = guesses.mayLook(client.address);
  if (mayLook && token.isRight(given)) return null;
  guessers.add(client);
  if (!mayLook)
    return Promise.resolve(new LastReply("ERR too many wrong tokens came from this address: try again in a second\n"));
  return guesses.wrong(client.address).then(() => wrong);
}

async function reload({ uplink }: CommandTarget, name: string, client: Client): Promise<string> {
  const order = orderFor(name === "" ? null : [name], { by: `RELOAD of ${whoIs(client)}` });
  return (await uplink.reload(order)).text;
}

async function status({ uplink }: CommandTarget): Promise<string> {
  const { info, processes } = await uplink.snapshots();
  return `${JSON.stringify(statusOf(info, processes), null, 2)}\n`;
}

/** After the reply is written: the client that asked is told before its connection is closed. */
function shutdown({ uplink }: CommandTarget, client: Client): string {
  setImmediate(() => uplink.stop(`SHUTDOWN of ${whoIs(client)}`));
  return "OK shutting down\n";
}

/** @returns HELP's answer: a line for each route, with its module and description */
function helpText(dispatch: Dispatch): string {
  // Commands that are off have no description, and stay hidden.
  const entries = dispatch.routing.table.entries.filter(
    ({ value }) => value.kind !== "command" || value.description !== "",
  );
  const rows = entries.map(({ value }) => [shownKey(value), value.module, shownText(value)]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const lines = rows.map(([key, module, text]) =>
    `${(key as string).padEnd(widths[0] as number)}  ${(module as string).padEnd(widths[1] as number)}  ${text}`.trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

function shownText({ description, takesHttp }: BoundRoute): string {
  return takesHttp === true ? `${description} (takes HTTP requests)`.trimStart() : description;
}

function shownKey(route: BoundRoute): string {
  return `"${escapeBytes(Buffer.from(route.key), 64)}"`;
}
