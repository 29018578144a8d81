/** `hrmr store`: looks into the store, changes it, and moves its documents. It works beside a running server. */
import { open } from "node:fs/promises";
import { defineCommand } from "citty";
import { suggest } from "../../../config/nearest";
import { maskUrls, quoted } from "../../../config/quoted";
import { UserError } from "../../../config/user-error";
import { StoreError } from "../../../module/store/error";
import { mustBeCollection, mustBeKey } from "../../../module/store/names";
import type { Mutation } from "../../../module/store/port";
import type { Backend } from "../../../store/backend";
import { exportLine, importedFrom } from "../../../store/tools/lines";
import { allRows, digestOf, writeAll } from "../../../store/tools/transfer";
import { PRIVATE_FILE } from "../../../system/private-files";
import { argument, badValue, type Flags, positionals, switchFlag, usageError, valueFlag } from "../../flags";
import { lineWidth, paintFor, printJson, tableLines } from "../../screen/terminal";
import { checkedUrl, findStore, type FoundStore, STORE_ARGS, withStore } from "./open-store";
import { ProgressBar } from "./progress";
import { watchStore } from "./watch";

/** A copy is compared but for documents that end within so long. In milliseconds. */
const COMPARED_MS = 3_600_000;

const FORMS = {
  ls: "ls [COLLECTION]",
  get: "get COLLECTION KEY",
  set: "set COLLECTION KEY JSON",
  del: "del COLLECTION KEY",
  watch: "watch [COLLECTION [KEY]]",
  copy: "copy URL",
  export: "export [FILE]",
  import: "import [FILE]",
  check: "check",
  compact: "compact",
} as const;
export const STORE_ACTIONS = Object.keys(FORMS) as (keyof typeof FORMS)[];
type Action = keyof typeof FORMS;

const args = {
  action: argument(`${Object.values(FORMS).join("; ")}. Default ls`, { required: false }),
  words: argument("What the action takes. JSON is one word: quote it. FILE -: stdin or stdout", {
    required: false,
    canRepeat: true,
  }),
  prefix: valueFlag("text", "With ls and watch: only keys that begin with it"),
  limit: valueFlag("number", "With ls: so many documents at most. Default 100. With watch: so many changes, then end", {
    integer: { min: 1, max: 1_000_000_000 },
  }),
  after: valueFlag("version", "With watch: changes behind this version first. Default: from now on", {
    integer: { min: 0, max: Number.MAX_SAFE_INTEGER },
  }),
  ttl: valueFlag("ms", "With set: the document is gone after so many milliseconds", {
    integer: { min: 1, max: Number.MAX_SAFE_INTEGER },
  }),
  ...STORE_ARGS,
  json: switchFlag("Print JSON"),
} as const satisfies Flags;

interface StoreCall {
  readonly found: FoundStore;
  /** The store of this folder's server. null: `found` is it */
  readonly own: (() => Promise<FoundStore>) | null;
  readonly words: readonly string[];
  readonly prefix: string;
  /** null: the default. */
  readonly limit: number | null;
  readonly after: number | null;
  readonly ttlMs: number | null;
  readonly isJson: boolean;
}

export const storeCommand = defineCommand({
  meta: { name: "store", description: "Look into the store, change it, move it; also beside a running server" },
  args,
  async run({ args: { url, config, modules, data, prefix, limit, after, ttl, json }, rawArgs }) {
    const [word = "ls", ...words] = positionals(rawArgs);
    const action = readAction(word);
    const call = {
      found: await findStore({ url, config, modules, data }),
      own: url === undefined ? null : async () => await findStore({ config, modules, data }),
      words,
      prefix: prefix ?? "",
      limit: limit === undefined ? null : Number(limit),
      after: after === undefined ? null : Number(after),
      ttlMs: ttl === undefined ? null : Number(ttl),
      isJson: json === true,
    };
    return await withStore(call.found, (backend) => ACTIONS[action](backend, call));
  },
});

const ACTIONS: Readonly<Record<Action, (backend: Backend, call: StoreCall) => Promise<number>>> = {
  ls: list,
  get,
  set,
  del,
  watch,
  copy,
  export: exportAll,
  import: importAll,
  check,
  compact,
};

function readAction(word: string): Action {
  const action = STORE_ACTIONS.find((each) => each === word);
  if (action !== undefined) return action;
  throw badValue(
    `hrmr store does ${STORE_ACTIONS.join(", ")}, not ${quoted(word)}.`,
    suggest(word, STORE_ACTIONS) || "`hrmr help store` shows how it is used.",
  );
}

/** @throws UserError MISSING_ARGUMENT or SURPLUS_ARGUMENT */
function wordsFor(action: Action, { words }: StoreCall, least: number, most = least): readonly string[] {
  const form = `Write: hrmr store ${FORMS[action]}`;
  if (words.length < least)
    throw usageError("MISSING_ARGUMENT", `hrmr store ${action} takes ${FORMS[action].slice(action.length + 1)}.`, form);
  if (words.length > most)
    throw usageError("SURPLUS_ARGUMENT", `hrmr store ${action} cannot read ${quoted(words[most] ?? "")}.`, form);
  return words;
}

// ---- looking ----

async function list(backend: Backend, call: StoreCall): Promise<number> {
  const [collection] = wordsFor("ls", call, 0, 1);
  if (collection === undefined) return await listCollections(backend, call.isJson);
  let left = call.limit ?? 100;
  let after: string | null = null;
  while (left > 0) {
    const range = { prefix: call.prefix, after, limit: Math.min(left, 1000), reverse: false };
    const { entries } = await backend.list(mustBeCollection(collection), range);
    for (const { key, text } of entries)
      console.log(call.isJson ? `[${JSON.stringify(key)},${text}]` : `${key}\t${text}`);
    const last = entries.at(-1);
    if (last === undefined) return 0;
    left -= entries.length;
    after = last.key;
  }
  return 0;
}

async function listCollections(backend: Backend, isJson: boolean): Promise<number> {
  const collections = await backend.collections();
  if (isJson) printJson(collections);
  else if (collections.length === 0) console.log("The store has no document yet.");
  else {
    const rows = collections.map(({ name, documents }) => [name, documents.toLocaleString("en-US")]);
    const columns = [{ title: "COLLECTION" }, { title: "DOCUMENTS" }];
    console.log(tableLines(columns, rows, lineWidth(), paintFor(process.stdout)).join("\n"));
  }
  return 0;
}

async function get(backend: Backend, call: StoreCall): Promise<number> {
  const [collection = "", key = ""] = wordsFor("get", call, 2);
  const [document] = await backend.get(mustBeCollection(collection), [mustBeKey(key)]);
  if (document == null) {
    throw new UserError(`There is no document ${quoted(key)} in ${collection}.`, {
      code: "DOCUMENT_MISSING",
      hint: `\`hrmr store ls ${collection}\` lists what is there.`,
    });
  }
  const { text, version, expiresAt } = document;
  console.log(call.isJson ? `{"value":${text},"version":${version},"expiresAt":${expiresAt}}` : text);
  return 0;
}

async function watch(backend: Backend, call: StoreCall): Promise<number> {
  const [collection, key] = wordsFor("watch", call, 0, 2);
  await watchStore(backend, {
    collection: collection === undefined ? null : mustBeCollection(collection),
    key: key === undefined ? null : mustBeKey(key),
    prefix: call.prefix,
    after: call.after,
    limit: call.limit ?? Infinity,
  });
  return 0;
}

// ---- changing ----

async function set(backend: Backend, call: StoreCall): Promise<number> {
  const [collection = "", key = "", json = ""] = wordsFor("set", call, 3);
  const text = readJson(json);
  const expiresAt = call.ttlMs === null ? null : { inMs: call.ttlMs };
  await write(backend, {
    kind: "set",
    collection: mustBeCollection(collection),
    key: mustBeKey(key),
    text,
    expiresAt,
    ifVersion: null,
  });
  return 0;
}

function readJson(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json));
  } catch (error) {
    throw badValue(
      `The value ${quoted(json.slice(0, 60))} is not JSON: ${(error as Error).message}.`,
      `Quote it, and a text twice: hrmr store set scores ann '"text"'.`,
    );
  }
}

async function del(backend: Backend, call: StoreCall): Promise<number> {
  const [collection = "", key = ""] = wordsFor("del", call, 2);
  await write(backend, {
    kind: "delete",
    collection: mustBeCollection(collection),
    key: mustBeKey(key),
    ifVersion: null,
  });
  return 0;
}

async function write(backend: Backend, mutation: Mutation): Promise<void> {
  const [done] = await backend.commit([{ checks: [], mutations: [mutation] }]);
  if (done?.result.ok === false) throw new StoreError(done.result.code, done.result.message);
}

// ---- moving ----

async function copy(backend: Backend, call: StoreCall): Promise<number> {
  // A password would be seen on the command line: the settings may name the target.
  const [url] = wordsFor("copy", call, call.own === null ? 1 : 0, 1);
  const target = url === undefined ? await call.own?.() : { ...call.found, url: checkedUrl(url) };
  if (target === undefined) throw new Error("a copy has a target. This is a bug in hrmr; please report it.");
  if (target.url === call.found.url) throw badValue("The store cannot be copied onto itself.", "Name another URL.");
  return await withStore(target, async (into) => {
    if ((await into.collections()).some(({ documents }) => documents > 0))
      throw new UserError(`There are documents in ${maskUrls(target.url)} already.`, {
        code: "STORE_NOT_EMPTY",
        hint: "Name a store that is new, so that none of them is written over.",
      });
    const bar = new ProgressBar("copied", await countOf(backend));
    const documents = await writeAll(into, copies(backend), bar.tell);
    bar.end();
    // Those that end meanwhile would be in one of both only.
    const lasting = Date.now() + COMPARED_MS;
    const [from, to] = [await digestOf(backend, lasting), await digestOf(into, lasting)];
    if (from.documents !== to.documents || from.hash !== to.hash)
      throw new UserError("The copy differs from the store: something was written meanwhile.", {
        code: "COPY_DIFFERS",
        hint: "Stop the server, delete the copy, and copy again.",
      });
    if (call.isJson) printJson({ documents, hash: to.hash, url: maskUrls(target.url) });
    else console.log(`${documents.toLocaleString("en-US")} documents copied to ${maskUrls(target.url)}, and compared.`);
    return 0;
  });
}

async function* copies(backend: Backend): AsyncGenerator<Mutation, void> {
  for await (const { collection, entry } of allRows(backend)) {
    const { key, text, expiresAt } = entry;
    yield { kind: "set", collection, key, text, expiresAt, ifVersion: null };
  }
}

async function countOf(backend: Backend): Promise<number> {
  return (await backend.collections()).reduce((sum, { documents }) => sum + documents, 0);
}

async function exportAll(backend: Backend, call: StoreCall): Promise<number> {
  const [path = "-"] = wordsFor("export", call, 0, 1);
  const file = path === "-" ? null : await open(path, "wx", PRIVATE_FILE).catch((error) => refuseFile(path, error));
  const bar = new ProgressBar("exported", file === null ? 0 : await countOf(backend));
  let documents = 0;
  try {
    for await (const { collection, entry } of allRows(backend)) {
      const line = exportLine(collection, entry);
      if (file === null) console.log(line);
      else await file.write(`${line}\n`);
      documents++;
      if (file !== null) bar.tell(documents);
    }
    await file?.sync();
  } finally {
    bar.end();
    await file?.close();
  }
  if (file !== null) console.log(`${documents.toLocaleString("en-US")} documents exported to ${path}.`);
  return 0;
}

function refuseFile(path: string, cause: NodeJS.ErrnoException): never {
  throw new UserError(`Cannot write ${path} (${cause.code}).`, {
    code: "CANNOT_WRITE",
    hint: cause.code === "EEXIST" ? "It is there already: name another file." : "Name a file in a folder of yours.",
    cause,
  });
}

async function importAll(backend: Backend, call: StoreCall): Promise<number> {
  const [path = "-"] = wordsFor("import", call, 0, 1);
  const bar = new ProgressBar("imported", 0);
  const documents = await writeAll(backend, importedLines(path), bar.tell);
  bar.end();
  if (call.isJson) printJson({ documents });
  else console.log(`${documents.toLocaleString("en-US")} documents imported.`);
  return 0;
}

async function* importedLines(path: string): AsyncGenerator<Mutation, void> {
  const input = path === "-" ? Bun.stdin.stream() : Bun.file(path).stream();
  let number = 0;
  try {
    for await (const line of linesOf(input)) {
      number++;
      if (line.trim() !== "") yield importedFrom(line);
    }
  } catch (error) {
    if (error instanceof StoreError)
      throw new UserError(`Line ${number} of ${path === "-" ? "the input" : path}: ${error.message}.`, {
        code: "BAD_LINE",
        hint: "The lines before it may be in the store already. Mend it, and import again.",
        cause: error,
      });
    const { code } = error as NodeJS.ErrnoException;
    throw new UserError(`Cannot read ${path} (${code ?? String(error)}).`, { code: "CANNOT_READ", cause: error });
  }
}

/** The lines of a stream of UTF-8. */
async function* linesOf(input: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of input) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}

// ---- keeping in order ----

async function check(backend: Backend, call: StoreCall): Promise<number> {
  wordsFor("check", call, 0);
  const faults = await backend.check();
  if (call.isJson) printJson({ faults });
  else if (faults.length === 0) console.log("The store is in order.");
  else for (const fault of faults) console.error(fault);
  return faults.length === 0 ? 0 : 1;
}

async function compact(backend: Backend, call: StoreCall): Promise<number> {
  wordsFor("compact", call, 0);
  await backend.compact();
  if (!call.isJson) console.log("Unused space was given back.");
  return 0;
}
