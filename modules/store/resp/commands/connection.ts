/** Commands on the connection itself. */
import { type Call, type CommandSpec, integerAt, NO_KEYS, type Run, wordAt } from "../call";
import { fail, SYNTAX, wrongArity } from "../errors";
import { COLLECTION, FIRST_COLLECTION, type Peer } from "../peer";
import { bytesAt } from "../values";
import { VERSION } from "./server";
import { subcommands } from "./subcommands";

const WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";

function ping(call: Call): void {
  const { args, out, peer } = call;
  if (args.length > 2) fail(wrongArity("ping"));
  // On a connection of RESP2 that has subscriptions, every reply is a message.
  if (peer.hears.size > 0 && out.version === 2) {
    out.array(2);
    out.bulk("pong");
    out.bulk(args.length === 2 ? bytesAt(args, 1) : "");
  } else if (args.length === 2) out.bulk(bytesAt(args, 1));
  else out.simple("PONG");
}

function select(call: Call): void {
  const name = call.args.latin1(1);
  if (!COLLECTION.test(name)) fail("ERR invalid DB index");
  const refusal = call.peer.refusal(`store:${name}:read`);
  if (refusal !== null && call.peer.refusal(`store:${name}:write`) !== null) fail(refusal);
  call.select(name);
  call.out.ok();
}

/** @param name  that of the user: the token says who it is. @throws ReplyError, late */
async function authenticate(peer: Peer, token: string): Promise<void> {
  const { client } = peer.connection;
  const session = await peer.face.context.access.authenticate(client, token);
  if ("identity" in session) peer.data.session = session;
  else {
    peer.isEnding = true;
    fail(WRONG_PASSWORD);
  }
}

async function auth(call: Call): Promise<void> {
  const { args, peer, out } = call;
  if (args.length > 3) fail(SYNTAX);
  await authenticate(peer, args.utf8(args.length - 1));
  out.ok();
}

interface HelloWish {
  version: 2 | 3;
  token: string | null;
  name: string | null;
}

function readHello(call: Call): HelloWish {
  const { args, peer } = call;
  const wish: HelloWish = { version: peer.data.version, token: null, name: null };
  if (args.length > 1) {
    const version = integerAt(call, 1, "ERR Protocol version is not an integer or out of range");
    if (version !== 2 && version !== 3) fail("NOPROTO unsupported protocol version");
    wish.version = version as 2 | 3;
  }
  for (let at = 2; at < args.length;) {
    const word = wordAt(call, at);
    const left = args.length - at - 1;
    if (word === "AUTH" && left >= 2) {
      wish.token = args.utf8(at + 2);
      at += 3;
    } else if (word === "SETNAME" && left >= 1) {
      wish.name = nameAt(call, at + 1);
      at += 2;
    } else fail(`ERR Syntax error in HELLO option '${args.utf8(at)}'`);
  }
  return wish;
}

async function hello(call: Call): Promise<void> {
  const { out, peer } = call;
  const { version, token, name } = readHello(call);
  if (token !== null) await authenticate(peer, token);
  if (peer.isStranger)
    fail(
      "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
    );
  if (name !== null) peer.data.name = name;
  peer.speak(version);
  out.map(7);
  for (const [key, value] of [
    ["server", "redis"],
    ["version", VERSION],
    ["proto", version],
    ["id", peer.id],
    ["mode", "standalone"],
    ["role", "master"],
  ] as const) {
    out.bulk(key);
    if (typeof value === "number") out.integer(value);
    else out.bulk(value);
  }
  out.bulk("modules");
  out.array(0);
}

/** @throws ReplyError: it must be visible, and one word */
function nameAt({ args }: Call, index: number, what = "Client names"): string {
  const name = args.latin1(index);
  if (!/^[!-~]*$/.test(name)) fail(`ERR ${what} cannot contain spaces, newlines or special characters.`);
  return name;
}

function setInfo(call: Call): void {
  const { args, peer, out } = call;
  const key = wordAt(call, 2);
  if (key !== "LIB-NAME" && key !== "LIB-VER") fail(`ERR Unrecognized option '${args.utf8(2)}'`);
  const value = nameAt(call, 3, args.latin1(2));
  const { library } = peer.data;
  peer.data.library = key === "LIB-NAME" ? { ...library, name: value } : { ...library, version: value };
  out.ok();
}

function infoOf(peer: Peer): string {
  const { connection, data } = peer;
  const { address, port, transport } = connection.client;
  const fields = {
    id: peer.id,
    addr: transport === "unix" ? "unix:0" : `${address.includes(":") ? `[${address}]` : address}:${port}`,
    name: data.name,
    age: Math.floor((Date.now() - peer.since) / 1000),
    flags: peer.hears.size > 0 ? "P" : data.queue === null ? "N" : "x",
    db: data.collection,
    sub: peer.hears.channels,
    psub: peer.hears.size - peer.hears.channels,
    multi: data.queue === null ? -1 : data.queue.length,
    cmd: peer.lastCommand,
    user: data.session?.identity ?? connection.session.identity ?? "default",
    resp: data.version,
    "lib-name": data.library.name,
    "lib-ver": data.library.version,
  };
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}

const client = subcommands("client", {
  id: [2, ({ out, peer }) => out.integer(peer.id)],
  getname: [2, ({ out, peer }) => out.bulkOrNull(peer.data.name === "" ? null : peer.data.name)],
  setname: [
    3,
    (call) => {
      call.peer.data.name = nameAt(call, 2);
      call.out.ok();
    },
  ],
  setinfo: [4, setInfo],
  info: [2, ({ out, peer }) => out.verbatim(`${infoOf(peer)}\n`)],
  // Who else is connected is nobody's business.
  list: [-2, ({ out, peer }) => out.verbatim(`${infoOf(peer)}\n`)],
  "no-evict": [3, onOrOff],
  "no-touch": [3, onOrOff],
});

/** Nothing is evicted, and nothing notes when a key was read. */
function onOrOff(call: Call): void {
  if (!["ON", "OFF"].includes(wordAt(call, 2))) fail(SYNTAX);
  call.out.ok();
}

function quit({ out, peer }: Call): void {
  out.ok();
  peer.isEnding = true;
}

function reset({ out, peer }: Call): void {
  peer.reset();
  out.simple("RESET");
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
): CommandSpec => ({ name, arity, use, keys: NO_KEYS, group: "connection", since, summary, run });

export const CONNECTION: readonly CommandSpec[] = [
  command("ping", -1, "nothing", "1.0.0", "Returns PONG, or its argument.", ping),
  command("echo", 2, "nothing", "1.0.0", "Returns its argument.", ({ args, out }) => out.bulk(bytesAt(args, 1))),
  command("select", 2, "nothing", "1.0.0", `Selects a collection. It begins as ${FIRST_COLLECTION}.`, select),
  command("hello", -1, "session", "6.0.0", "Selects RESP2 or RESP3, and shows a token.", hello),
  command("auth", -2, "session", "1.0.0", "Shows a token.", auth),
  command("client", -2, "nothing", "2.4.0", "Tells and names the connection.", client),
  command("quit", -1, "session", "1.0.0", "Ends the connection.", quit),
  command("reset", 1, "session", "6.2.0", "Makes the connection as it was at its begin.", reset),
];
