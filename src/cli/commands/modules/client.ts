/** `hrmr client`: writes a client of the server's procedures, with their types, in one file without packages. */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { version } from "../../../../package.json";
import { assetPath } from "../../../config/assets";
import { type ListenAddress, parseListen } from "../../../config/listen";
import { UserError } from "../../../config/user-error";
import { controlRequest } from "../../../control/client";
import type { ServerStatus } from "../../../observe/snapshot";
import { readToken } from "../../../server/token";
import { CallError, Client } from "../../client/client-runtime";
import { type ClientProcedure, readProcedures } from "../../client/procedures";
import { pythonClient } from "../../client/python";
import { typescriptClient } from "../../client/typescript";
import { type Flags, usageError, valueFlag } from "../../flags";
import { CONTROL_ARGS, type ControlFlags, findServer } from "../../remote/control-target";

const LANGUAGES = ["ts", "js", "python"] as const;
type Language = (typeof LANGUAGES)[number];

const { control, config, modules, state } = CONTROL_ARGS;
const HOW_TO_GET_TOKEN = "Make one: (umask 077 && hrmr token add NAME --scope 'rpc:*' > FILE).";

const args = {
  lang: valueFlag("lang", "ts (for node 22, Bun, Deno and browsers), js or python. Default ts"),
  out: valueFlag("file", "Where to write it. Default: standard output"),
  from: valueFlag("file", "An OpenRPC document; - for standard input. Default: the running server of this folder"),
  "token-file": valueFlag("file", "Show the token in this file, if the server asks for one"),
  control,
  config,
  modules,
  state,
} as const satisfies Flags;

export const clientCommand = defineCommand({
  meta: {
    name: "client",
    description: "Write a client of the server's procedures, in TypeScript, JavaScript or Python",
  },
  args,
  async run({ args: { lang = "ts", out, from, "token-file": tokenFile, ...flags } }) {
    const language = LANGUAGES.find((each) => each === lang);
    if (language === undefined)
      throw usageError("BAD_LANGUAGE", `There is no client in "${lang}".`, `Choose one of ${LANGUAGES.join(", ")}.`);
    const token = tokenFile === undefined ? undefined : readToken(resolve(tokenFile), HOW_TO_GET_TOKEN);
    const { document, port } =
      from === undefined ? await discover(flags, token) : { document: await readDocument(from), port: null };
    const text = withPort(clientText(language, readProcedures(document)), port);
    if (out === undefined) return console.log(text.trimEnd());
    try {
      writeFileSync(resolve(out), text);
    } catch (cause) {
      throw new UserError(`Cannot write ${resolve(out)}: ${(cause as Error).message}.`, {
        code: "CANNOT_WRITE",
        cause,
      });
    }
    console.log(`wrote  ${out}`);
  },
});

/** A client of a running server finds it without further settings. @param port null: it is not known */
function withPort(text: string, port: number | null): string {
  return port === null ? text : text.replaceAll(/(Default |port = |port: int = )8080\b/g, `$1${port}`);
}

function clientText(language: Language, procedures: readonly ClientProcedure[]): string {
  const note = `Written by hrmr ${version}: hrmr client --lang ${language}. Write it again when the procedures change.`;
  if (language === "python")
    return pythonClient(procedures, readFileSync(assetPath("src/cli/client/client_runtime.py"), "utf8"), note);
  const text = typescriptClient(procedures, readFileSync(assetPath("src/cli/client/client-runtime.ts"), "utf8"), note);
  return language === "ts"
    ? text
    : new Bun.Transpiler({ loader: "ts", deadCodeElimination: false }).transformSync(text);
}

async function readDocument(path: string): Promise<unknown> {
  try {
    return JSON.parse(path === "-" ? await Bun.stdin.text() : readFileSync(resolve(path), "utf8"));
  } catch (cause) {
    throw new UserError(`${path} cannot be read as JSON: ${(cause as Error).message}.`, { code: "NO_OPENRPC", cause });
  }
}

/** Asks the server of this folder, at its first listener that takes text. */
async function discover(
  flags: ControlFlags,
  token: string | undefined,
): Promise<{ readonly document: unknown; readonly port: number | null }> {
  const target = await findServer(flags);
  const { body } = await controlRequest<ServerStatus>(target, "GET", "/v1/status");
  const address = body.listening
    .map(parseListen)
    .find((each) => each?.transport === "tcp" || each?.transport === "unix");
  if (address === undefined || address === null) {
    throw new UserError("The server of this folder has no listener that takes text.", {
      code: "NO_LISTENER",
      hint: "Get the document another way, and name it: --from openrpc.json.",
    });
  }
  const client = new Client({ ...placeOf(address), ...(token === undefined ? null : { token }) });
  try {
    return { document: await client.call("rpc.discover"), port: "port" in address ? address.port : null };
  } catch (cause) {
    if (!(cause instanceof CallError)) throw cause;
    throw new UserError(`The server does not tell its procedures (${cause.code}): ${cause.message}.`, {
      code: "NO_OPENRPC",
      hint:
        cause.code === "UNAUTHENTICATED"
          ? `Show a token: --token-file FILE. ${HOW_TO_GET_TOKEN}`
          : "A module has procedures if one of its services has public: true.",
      cause,
    });
  } finally {
    client.close();
  }
}

function placeOf(address: ListenAddress): { path: string } | { host: string; port: number } {
  if (address.transport === "unix") return { path: address.path };
  const isAny = address.host === "0.0.0.0" || address.host === "::";
  return { host: isAny ? "127.0.0.1" : address.host, port: address.port };
}
