/** `hrmr call [ADDRESS] NAME [JSON]`: calls a procedure, and prints its result as JSON. */
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { formatListen, isReachable, parseHostPort } from "../../config/listen";
import { quoted } from "../../config/quoted";
import { UserError } from "../../config/user-error";
import { readToken } from "../../server/token";
import { argument, badValue, type Flags, positionals, usageError, valueFlag } from "../flags";
import { findPeer, type Peer, peerAt, PROJECT_ARGS } from "../remote/peer";
import { TLS_ARGS } from "../remote/send-tls";

const args = {
  address: argument(
    "HOST:PORT, [IPv6]:PORT, tls://HOST:PORT or unix:PATH. Default: the server of this folder, as hrmr status finds it",
    { required: false },
  ),
  name: argument("The procedure: MODULE.SERVICE", { required: false, isNeeded: true }),
  input: argument("Its input, as JSON; - reads it from stdin. Default: none", { required: false }),
  "token-file": valueFlag("file", "Show the token in this file, if the server asks for one"),
  ...TLS_ARGS,
  ...PROJECT_ARGS,
} as const satisfies Flags;

export const callCommand = defineCommand({
  meta: { name: "call", description: "Call a procedure and print its result as JSON" },
  args,
  async run({ args: { "token-file": tokenFile, ...flags }, rawArgs }) {
    const { address, name, json } = readWords(positionals(rawArgs));
    const input = checkInput(json === "-" ? await Bun.stdin.text() : json);
    const peer = address === null ? await findPeer(flags) : peerAt(address, flags);
    const token = tokenFile === undefined ? null : readToken(resolve(tokenFile), HOW_TO_GET_TOKEN);
    if (token !== null && peer.tls === null && isReachable(peer.target))
      console.error(`The token goes to ${formatListen(peer.target)} unencrypted: --tls encrypts it.`);
    await tell(name, await ask(peer, name, input, token));
  },
});

interface Words {
  /** null: the server of this folder. */
  readonly address: string | null;
  readonly name: string;
  /** "": no input. */
  readonly json: string;
}

/** `[ADDRESS] NAME [JSON]`. @throws UserError MISSING_ARGUMENT without a name */
function readWords(words: readonly string[]): Words {
  const [first = ""] = words;
  const isAddress = parseHostPort(first) !== null || /^(?:tcp|tls|udp|unix):./.test(first);
  const [name = "", json = "", ...surplus] = isAddress ? words.slice(1) : words;
  if (name === "")
    throw usageError(
      "MISSING_ARGUMENT",
      `hrmr call needs NAME: ${args.name.description}`,
      "`hrmr help call` shows how it is used.",
    );
  if (surplus.length > 0) {
    const isNoInput = surplus.length === 1 && !isAddress && /^[\w-]+\.[\w-]+$/.test(json);
    if (isNoInput)
      throw badValue(`${quoted(first)} is not an address.`, "An address is HOST:PORT, such as localhost:8080.");
    throw badValue(`hrmr call cannot read ${quoted(surplus[0] ?? "")}.`, QUOTES);
  }
  return { address: isAddress ? first : null, name, json };
}

const HOW_TO_GET_TOKEN = "Make one: (umask 077 && hrmr token add NAME --scope 'rpc:MODULE.*' > FILE).";
const QUOTES = `Quote the input: hrmr call kv.get '{"key":"a"}'.`;

/** @throws UserError BAD_VALUE: it is not JSON */
function checkInput(json: string): string {
  try {
    if (json.trim() !== "") JSON.parse(json);
    return json.trim();
  } catch (error) {
    throw badValue(`The input ${quoted(json.slice(0, 60))} is not JSON: ${(error as Error).message}.`, QUOTES);
  }
}

async function ask({ target, tls }: Peer, name: string, input: string, token: string | null): Promise<Response> {
  const isUnix = target.transport === "unix";
  const place = isUnix ? "localhost" : `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  try {
    return await fetch(`${tls === null ? "http" : "https"}://${place}/rpc/${encodeURIComponent(name)}`, {
      method: "POST",
      body: input,
      headers: {
        "Content-Type": "application/json",
        Accept: "application/json, text/event-stream",
        ...(token === null ? null : { Authorization: `Bearer ${token}` }),
      },
      ...(isUnix ? { unix: target.path } : null),
      ...(tls === null ? null : { tls: { ...tls } }),
      redirect: "error",
    });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new UserError(`Cannot connect to ${formatListen(target)} (${code ?? message}).`, {
      code: "CANNOT_CONNECT",
      hint: "Is the server running, and is the address right? `hrmr` starts one here.",
      cause,
    });
  }
}

/** Prints the result, or each part of it. @throws UserError CALL_FAILED */
async function tell(name: string, reply: Response): Promise<void> {
  if (reply.headers.get("content-type")?.startsWith("text/event-stream")) return await tellParts(name, reply);
  const text = await reply.text();
  if (reply.ok) return console.log(text.trimEnd());
  throw failure(name, text, reply.status);
}

async function tellParts(name: string, reply: Response): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of reply.body as unknown as AsyncIterable<Uint8Array>) {
    const events = `${rest}${decoder.decode(piece, { stream: true })}`.split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) {
      const [, kind = "", data = ""] = /^(?:event: (\w+)\n)?data: (.*)$/s.exec(event) ?? [];
      if (kind === "end") return;
      if (kind === "error") throw failure(name, data, reply.status);
      console.log(data);
    }
  }
  throw new UserError(`${name} was cut: the server ended the connection before the end of the result.`, {
    code: "CONNECTION_LOST",
    hint: "The output above is only a part of the result.",
  });
}

/** What to do, by the word of a failure or its number. */
const HINTS: Readonly<Record<string, string>> = {
  "-32601":
    "A service is a procedure if it has public: true. `curl http://HOST:PORT/openapi.json` lists the procedures.",
  INVALID_INPUT: "`curl http://HOST:PORT/openapi.json` has the input of each procedure.",
  UNAUTHENTICATED: `Show a token: --token-file FILE. ${HOW_TO_GET_TOKEN}`,
  FORBIDDEN: "`hrmr token list` shows the scopes of each token, on the server's machine.",
};

function failure(name: string, text: string, status: number): UserError {
  try {
    const { error } = JSON.parse(text) as { error: { code: number; message: string; data?: { code?: string } } };
    const { data = {}, message, code } = error;
    const { code: word = String(code), ...rest } = data;
    const more = Object.keys(rest).length === 0 ? "" : ` ${JSON.stringify(rest)}`;
    return new UserError(`${name} failed (${word}): ${message}${more}`, {
      code: "CALL_FAILED",
      hint: HINTS[word] ?? "The server's log may have more.",
    });
  } catch {
    const why = status === 404 || status === 405 ? "no module of the server has a procedure" : `status ${status}`;
    return new UserError(`${name} cannot be called there: ${why}.`, {
      code: "CALL_FAILED",
      hint: HINTS["-32601"],
    });
  }
}
