/** Tokens of a running server: the file that `hrmr token` writes. */
import { join } from "node:path";
import { readTokens, TOKENS_FILE, writeTokens } from "../../src/hub/access/token-file";
import { hashOf, makeToken } from "../../src/hub/access/tokens";
import type { Hub } from "./hub";
import { until } from "./until";

/** @returns the new token, in place of the one of that name. The server knows it */
export async function addToken(hub: Hub, name: string, ...scopes: string[]): Promise<string> {
  const token = makeToken();
  const file = join(hub.dir, "data", TOKENS_FILE);
  const record = {
    name,
    hash: hashOf(token).toString("hex"),
    scopes,
    created: new Date().toISOString(),
    expires: null,
  };
  writeTokens(file, [...readTokens(file).filter((each) => each.name !== name), record]);
  await until(`the server knows the token ${name}`, async () => (await hub.ask(`AUTH ${token}\n`)).startsWith("OK"));
  return token;
}

export function revokeToken(hub: Hub, name: string): void {
  const file = join(hub.dir, "data", TOKENS_FILE);
  writeTokens(
    file,
    readTokens(file).filter((each) => each.name !== name),
  );
}
