/** `--server`: a remote server, or the server of another folder. */
import { resolve } from "node:path";
import { parseHostPort } from "../../config/listen";
import { maskUrls, quoted } from "../../config/quoted";
import type { ControlTarget } from "../../control/client";
import { readToken } from "../../server/token";
import { badValue, type Flags, type Given, valueFlag } from "../flags";
import { readAuthorities, readTlsFile } from "./send-tls";

export const REMOTE_ARGS = {
  server: valueFlag(
    "host:port",
    "A server elsewhere, by its control.listen: HOST:PORT, tcp:// or tls://. unix:PATH is a control socket",
  ),
  "token-file": valueFlag("file", "For --server: file with the token, as control.tokenFile has it there"),
  "tls-ca": valueFlag("file", "For --server: trust certificates of this authority (PEM), or this certificate itself"),
  "client-cert": valueFlag("file", "For --server: the client certificate (PEM), if the server asks for one"),
  "client-key": valueFlag("file", "For --server: the private key of --client-cert (PEM)"),
} as const satisfies Flags;

type RemoteFlags = Given<typeof REMOTE_ARGS>;

const FORMS = "HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH";

/**
 * @returns null: the flags name no server
 * @throws UserError BAD_VALUE for flags that don't go together, exit code 2; TOKEN_FILE; TLS_FILE
 */
export function readServer(flags: RemoteFlags, cwd: string): ControlTarget | null {
  const { server, "token-file": tokenFile, "tls-ca": caFile, "client-cert": certFile, "client-key": keyFile } = flags;
  const files = { "--token-file": tokenFile, "--tls-ca": caFile, "--client-cert": certFile, "--client-key": keyFile };
  const [extra] = Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [name]));
  if (server === undefined || server.startsWith("unix:")) {
    if (extra !== undefined)
      throw badValue(`${extra} goes with --server HOST:PORT.`, "A control socket needs neither.");
    return server === undefined ? null : resolve(cwd, server.replace(/^unix:(?:\/\/(?=\/))?/, ""));
  }
  const [, scheme = "tcp", rest = ""] = /^(?:(tcp|tls|https?):\/\/)?(.*?)\/?$/.exec(server) ?? [];
  const address = parseHostPort(rest);
  if (address === null || address.port === 0) {
    throw badValue(`--server takes ${FORMS}, not ${quoted(server)}.`, "It is what control.listen has on the server.");
  }
  if (tokenFile === undefined)
    throw badValue(
      `--server ${maskUrls(server)} needs --token-file FILE.`,
      "The file holds what control.tokenFile has there.",
    );
  if ((certFile === undefined) !== (keyFile === undefined))
    throw badValue("--client-cert and --client-key go together.", "Name both files, or neither.");
  const isTls = scheme === "tls" || scheme === "https" || caFile !== undefined || certFile !== undefined;
  if (isTls && (scheme === "http" || (scheme === "tcp" && server.includes("://")))) {
    throw badValue(
      `${caFile === undefined ? "--client-cert" : "--tls-ca"} and --server ${maskUrls(server)} say different things.`,
      "Write tls:// for a server that speaks TLS.",
    );
  }
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const url = `${isTls ? "https" : "http"}://${host}:${address.port}`;
  const token = readToken(resolve(cwd, tokenFile));
  return {
    url,
    token,
    ...(caFile === undefined ? {} : { ca: readAuthorities(resolve(cwd, caFile)) }),
    ...(certFile === undefined || keyFile === undefined
      ? {}
      : { cert: readTlsFile(resolve(cwd, certFile)), key: readTlsFile(resolve(cwd, keyFile)) }),
  };
}
