/**
 * `hrmr token`: makes, lists and revokes the tokens of clients, in the tokens' file. A running server sees the change by
 * itself.
 */
import { dirname, join, resolve } from "node:path";
import { defineCommand } from "citty";
import { nearest, suggest } from "../../config/nearest";
import { quoted } from "../../config/quoted";
import { UserError } from "../../config/user-error";
import { scopeMistake, SCOPE_FORMS } from "../../hub/access/scopes";
import { readTokens, TOKENS_FILE, writeTokens } from "../../hub/access/token-file";
import { expiryOf, hashOf, isExpired, makeToken, nameMistake, type TokenRecord } from "../../hub/access/tokens";
import { lockFile } from "../../supervise/takeover/lock";
import { makePrivateFolder } from "../../system/private-files";
import { projectData, runningSetting } from "../remote/project-data";
import { argument, badValue, type Flags, repeated, switchFlag, usageError, valueFlag } from "../flags";
import { type Column, lineWidth, type Paint, paintFor, printJson, tableLines } from "../screen/terminal";

export const TOKEN_ACTIONS = ["add", "list", "revoke"] as const;
type Action = (typeof TOKEN_ACTIONS)[number];

const args = {
  action: argument(`${TOKEN_ACTIONS.join(", ")}. Default list`, { required: false }),
  name: argument("The token's name: that of the client, its identity for modules", { required: false }),
  scope: valueFlag("scope", `With add: what it allows: ${SCOPE_FORMS}. May be repeated`, { canRepeat: true }),
  expires: valueFlag(
    "time",
    "With add: after this time (30d, 12h, 45m, 2w), or on this date (2027-01-31). Default never",
  ),
  file: valueFlag(
    "file",
    `The tokens' file. Default: the server's access.tokensFile, or ${TOKENS_FILE} in its data folder`,
  ),
  config: valueFlag("file", "Config file of the server. Default hrmr.json, if there is one", { alias: "c" }),
  modules: valueFlag("dir", "Folder of the server's modules. Default modules"),
  data: valueFlag("dir", "Folder of the server's data. Default data beside the modules folder"),
  json: switchFlag("Print JSON"),
} as const satisfies Flags;

export const tokenCommand = defineCommand({
  meta: { name: "token", description: "Make, list or revoke the tokens of clients; a running server sees it at once" },
  args,
  async run({ args: flags, rawArgs }) {
    const action = readAction(flags.action ?? "list");
    const scopes = repeated(rawArgs, "scope");
    checkFlags(action, flags.name, scopes.length > 0 || flags.expires !== undefined);
    const file = await tokensFile(flags);
    const isJson = flags.json === true;
    if (action === "list") return list(file, isJson);
    const name = flags.name as string;
    if (action === "revoke") return revoke(file, name, isJson);
    add(file, readName(name), { scopes: readScopes(scopes), expires: readExpiry(flags.expires), isJson });
  },
});

// ---- the actions ----

function add(file: string, name: string, { scopes, expires, isJson }: Wanted): void {
  const token = makeToken();
  const created = new Date().toISOString();
  const record: TokenRecord = { name, hash: hashOf(token).toString("hex"), scopes, created, expires };
  change(file, (records) => {
    if (records.some((other) => other.name === name))
      throw new UserError(`There is a token named ${name} already.`, {
        code: "TOKEN_EXISTS",
        hint: `Choose another name, or revoke it first: hrmr token revoke ${name}`,
      });
    return [...records, record];
  });
  if (isJson) return printJson({ ...shown(record), token, file });
  console.log(token);
  console.error(
    `${name} may: ${scopes.join(", ")}; ${expires === null ? "until it is revoked" : `until ${shownTime(expires)}`}.\n` +
      `This is the only time that the token is shown: ${file} holds its hash.`,
  );
}

interface Wanted {
  readonly scopes: readonly string[];
  readonly expires: string | null;
  readonly isJson: boolean;
}

const COLUMNS: readonly Column[] = [
  { title: "NAME" },
  { title: "SCOPES", canShrink: true },
  { title: "CREATED" },
  { title: "EXPIRES" },
];

function list(file: string, isJson: boolean): void {
  const records = readTokens(file);
  if (isJson) return printJson(records.map(shown));
  if (records.length === 0)
    return console.log("There is no token yet. Make one: hrmr token add NAME --scope rpc:accounts.*");
  const paint = paintFor(process.stdout);
  console.log(
    tableLines(
      COLUMNS,
      records.map((record) => row(record, paint)),
      lineWidth(),
      paint,
    ).join("\n"),
  );
}

function row(record: TokenRecord, paint: Paint): string[] {
  const { name, scopes, created, expires } = record;
  const end = expires === null ? "never" : shownTime(expires);
  const over = isExpired(record, Date.now()) ? paint(`${end} (expired)`, "red") : end;
  return [name, scopes.join(", "), shownTime(created), over];
}

function revoke(file: string, name: string, isJson: boolean): void {
  const without = (records: readonly TokenRecord[]) => {
    const left = records.filter((record) => record.name !== name);
    if (left.length < records.length) return left;
    const near = nearest(
      name,
      records.map((record) => record.name),
    );
    throw new UserError(`There is no token named ${quoted(name)} in ${file}.`, {
      code: "TOKEN_MISSING",
      hint: near === null ? "`hrmr token list` shows them." : `Did you mean ${near}?`,
    });
  };
  // Checked first, so that a mistake does not create a folder.
  without(readTokens(file));
  change(file, without);
  if (isJson) return printJson({ revoked: name, file });
  console.log(`${name} is revoked.`);
}

/** Leaves the hash out: only the server needs it. */
function shown(record: TokenRecord): object {
  const { name, scopes, created, expires } = record;
  return { name, scopes, created, expires, isExpired: isExpired(record, Date.now()) };
}

/** In local time: "2026-11-20 12:00:07". */
function shownTime(at: string): string {
  return new Date(at).toLocaleString("sv-SE");
}

// ---- the file ----

/** How long to wait for another command that changes the file. In milliseconds. */
const LOCK_MS = 5000;
const LOCK_PAUSE_MS = 20;

/** Reads, changes and replaces the file, while no other command does. */
function change(file: string, edit: (records: readonly TokenRecord[]) => readonly TokenRecord[]): void {
  makePrivateFolder(dirname(file));
  const path = `${file}.lock`;
  const until = performance.now() + LOCK_MS;
  let lock = lockFile(path);
  while (!("release" in lock)) {
    if (performance.now() > until)
      throw new UserError(`Another program is changing ${file} (${lock.holder}).`, {
        code: "TOKENS_LOCKED",
        hint: "Try again when it has ended.",
      });
    Bun.sleepSync(LOCK_PAUSE_MS);
    lock = lockFile(path);
  }
  try {
    writeTokens(file, edit(readTokens(file)));
  } finally {
    lock.release();
  }
}

interface Place {
  readonly file?: string;
  readonly config?: string;
  readonly modules?: string;
  readonly data?: string;
}

/**
 * The file of the running server of this folder, since a systemd unit has its data elsewhere. If no server runs, the
 * file of a server that is started here with the same config file and folders.
 */
async function tokensFile({ file, config, modules, data }: Place): Promise<string> {
  if (file !== undefined) return resolve(file);
  const running = data === undefined ? await runningSetting({ config, modules }, "access.tokensFile") : null;
  if (running !== null) return running;
  const { options, dataDir } = await projectData({ config, modules, data });
  return options.access.tokensFile ?? join(dataDir, TOKENS_FILE);
}

// ---- the command line ----

function readAction(word: string): Action {
  const action = TOKEN_ACTIONS.find((each) => each === word);
  if (action !== undefined) return action;
  throw badValue(
    `hrmr token does ${TOKEN_ACTIONS.join(", ")}, not ${quoted(word)}.`,
    suggest(word, TOKEN_ACTIONS) || "`hrmr help token` shows how it is used.",
  );
}

function checkFlags(action: Action, name: string | undefined, isForAdd: boolean): void {
  if (action === "list" && name !== undefined)
    throw usageError(
      "SURPLUS_ARGUMENT",
      `hrmr token list takes no name, and ${quoted(name)} is one.`,
      "It lists all tokens.",
    );
  if (action !== "list" && name === undefined)
    throw usageError("MISSING_ARGUMENT", `hrmr token ${action} needs NAME.`, "`hrmr help token` shows how it is used.");
  if (action !== "add" && isForAdd)
    throw badValue(
      `--scope and --expires go with add, not with ${action}.`,
      "To change a token, revoke it and add it.",
    );
}

function readName(name: string): string {
  const wrong = nameMistake(name);
  if (wrong === null) return name;
  throw usageError(
    "BAD_NAME",
    `${wrong}.`.replace(/^./, (first) => first.toUpperCase()),
    "Write: hrmr token add NAME",
  );
}

function readScopes(scopes: readonly string[]): string[] {
  const hint = `Scopes: ${SCOPE_FORMS}. A * wants quotes in most shells.`;
  if (scopes.length === 0)
    throw usageError("MISSING_VALUE", "hrmr token add needs --scope: what the token allows.", hint);
  for (const scope of scopes) {
    const wrong = scopeMistake(scope);
    if (wrong !== null) throw badValue(`--scope: ${wrong}.`, hint);
  }
  return [...new Set(scopes)];
}

function readExpiry(text: string | undefined): string | null {
  if (text === undefined) return null;
  const at = expiryOf(text, Date.now());
  if (at !== null) return at.toISOString();
  throw badValue(
    `--expires takes a time from now on, not ${quoted(text)}.`,
    "Write 30d, 12h, 45m or 2w, or a date that is to come: 2027-01-31.",
  );
}
