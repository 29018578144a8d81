/** Opens the store of this folder's server for a command, beside the server or without it. */
import { resolve } from "node:path";
import { DEFAULT_STORE, type StoreOptions } from "../../../config/options";
import { MASK, maskUrls, quoted } from "../../../config/quoted";
import { absoluteStoreUrl, defaultStoreUrl, parseStoreUrl, STORE_FORMS } from "../../../config/store-url";
import { UserError } from "../../../config/user-error";
import { StoreError } from "../../../module/store/error";
import type { Backend } from "../../../store/backend";
import { openBackend } from "../../../store/backends/open";
import { StoreClock } from "../../../store/clock";
import { badValue, type Flags, valueFlag } from "../../flags";
import { type DataPlace, projectData, runningSetting } from "../../remote/project-data";

const MAX_DEPTH = 200;

export const STORE_ARGS = {
  url: valueFlag(
    "url",
    "The store: sqlite://PATH, json://PATH, postgres://…, mysql://… Default: that of this folder's server",
  ),
  config: valueFlag("file", "Config file of the server. Default hrmr.json, if there is one", { alias: "c" }),
  modules: valueFlag("dir", "Folder of the server's modules. Default modules"),
  data: valueFlag("dir", "Folder of the server's data. Default data beside the modules folder"),
} as const satisfies Flags;

interface StorePlace extends DataPlace {
  readonly url?: string | undefined;
}

export interface FoundStore {
  /** Absolute. */
  readonly url: string;
  readonly options: StoreOptions;
}

/** @throws UserError BAD_VALUE for a URL that is none */
export async function findStore({ url, ...place }: StorePlace): Promise<FoundStore> {
  if (url !== undefined) return { url: checkedUrl(url), options: DEFAULT_STORE };
  const { options, dataDir } = await projectData(place);
  // A systemd unit has its data elsewhere. A URL with a password is masked there, and is read from the settings.
  const running = place.data === undefined ? await runningSetting(place, "store.url") : null;
  const isWhole = running !== null && !running.includes(MASK) && parseStoreUrl(running) !== null;
  const named = isWhole ? running : options.store.url;
  return { url: named ?? defaultStoreUrl(dataDir), options: options.store };
}

/** @throws UserError BAD_VALUE */
export function checkedUrl(url: string): string {
  if (parseStoreUrl(url) !== null) return absoluteStoreUrl(url, process.cwd());
  throw badValue(`${quoted(url)} is not the URL of a store.`, `Write ${STORE_FORMS}.`);
}

/** Opens a store, lets a command use it, and closes it. @throws UserError for errors of the store */
export async function withStore<T>(found: FoundStore, use: (backend: Backend) => Promise<T>): Promise<T> {
  const clock = new StoreClock();
  let indexes = new Map<string, string[]>();
  try {
    const backend = openBackend(found.url, {
      limits: { maxValueBytes: found.options.maxValueBytes, maxDepth: MAX_DEPTH },
      durability: "full",
      now: clock.now,
      raiseClock: clock.raise,
      keptChanges: found.options.keptChanges,
      indexesOf: (collection) => indexes.get(collection) ?? [],
      onForeignChanges: () => {},
    });
    await backend.open();
    try {
      // The modules that declare them are not here.
      const known = (await backend.indexes?.()) ?? [];
      indexes = new Map(
        [...Map.groupBy(known, ({ collection }) => collection)].map(([name, of]) => [
          name,
          of.map(({ index }) => index),
        ]),
      );
      return await use(backend);
    } finally {
      await backend.close();
    }
  } catch (error) {
    throw asUserError(error);
  }
}

function asUserError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  const message = maskUrls(error.message);
  return new UserError(`${message.replace(/^./, (first) => first.toUpperCase())}.`, {
    code: `STORE_${error.code}`,
    cause: error,
  });
}

/** @returns the path of a store in a file; null: it is in a database server */
export function fileOf(url: string): string | null {
  const file = parseStoreUrl(url);
  return file !== null && "path" in file ? resolve(file.path) : null;
}
