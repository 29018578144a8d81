/**
 * The server's side of `hrmr push`, `hrmr remove` and `hrmr pull`: exchanges a module's files, reloads the module, and
 * puts the old files back if that fails.
 */
import type { ControlOptions, ModuleSettings } from "../../config/options";
import { UserError } from "../../config/user-error";
import { findEntries } from "./entries";
import { type ReadFiles, readFiles } from "./read-files";
import { Exchange, type StagingFolders } from "./staging";
import { orderFor, type ReloadOrder } from "../order";
import type { ReloadQueue } from "../queue";
import { layOut, type ModuleContent } from "./names";
import type { ModuleFiles, PushReport, ReloadReport, UploadLimits, UploadOperations } from "../operations";

interface UploadsOwner {
  /** null: no change is allowed now, since the server starts, stops or is being replaced. */
  folders(): StagingFolders | null;
  /** The present options. */
  options(): { readonly control: ControlOptions; readonly modules: Readonly<Record<string, ModuleSettings>> };
  /** The queue of all work on modules' files. */
  readonly queue: Pick<ReloadQueue, "run" | "length">;
  /** Reloads in the caller's turn. */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /** The hash of the serving version; null: none. */
  hashOf(module: string): Promise<string | null>;
}

type What = "push" | "remove";

/** Each waiting upload has its files in memory. */
const MAX_WAITING = 8;

export class Uploads implements UploadOperations {
  readonly #owner: UploadsOwner;

  constructor(owner: UploadsOwner) {
    this.#owner = owner;
  }

  limits(): UploadLimits {
    const { maxUploadBytes, maxUploadFiles } = this.#owner.options().control;
    return { maxBytes: maxUploadBytes, maxFiles: maxUploadFiles };
  }

  async push(module: string, files: readonly ModuleContent[]): Promise<PushReport> {
    const layout = layOut(module, files);
    this.#mustBeOn(module);
    const report = await this.#inTurn((folders) => this.#change(folders, module, layout, "push"));
    return { ...report, hash: await this.#owner.hashOf(module), sha256: digestOf(layout.files) };
  }

  async remove(module: string): Promise<PushReport> {
    const report = await this.#inTurn((folders) => {
      this.#mustBeThere(folders, module);
      return this.#change(folders, module, null, "remove");
    });
    return { ...report, hash: await this.#owner.hashOf(module), sha256: null };
  }

  async pull(module: string): Promise<ModuleFiles> {
    return await this.#inTurn(async (folders) => {
      this.#mustBeThere(folders, module);
      const read = findEntries(folders.modulesDir, module).map(({ entry }) =>
        readFiles(folders.modulesDir, entry, this.limits()),
      );
      return toModuleFiles(module, read);
    });
  }

  async #change(
    folders: StagingFolders,
    module: string,
    layout: ReturnType<typeof layOut> | null,
    what: What,
  ): Promise<ReloadReport> {
    const exchange = await Exchange.prepare(folders, module, layout);
    try {
      exchange.apply();
      return await this.#load(exchange, module, what);
    } finally {
      await exchange.close();
    }
  }

  /** Loads the files in place, or puts the old ones back. */
  async #load(exchange: Exchange, module: string, what: What): Promise<ReloadReport> {
    let report: ReloadReport | null = null;
    try {
      // A version that was rolled back may be pushed again: the push is on purpose.
      report = await this.#owner.reload(orderFor([module], { source: what, forced: what === "push" ? [module] : [] }));
      if (report.ok) return report;
    } finally {
      if (report?.ok !== true) {
        exchange.undo();
        // The serving version is on the disk again, and nothing has failed.
        await this.#owner.reload(orderFor([module], { source: `${what} undone` }));
      }
    }
    return { ...report, text: `${report.text}  No file was changed: the modules folder is as it was before.\n` };
  }

  #inTurn<T>(action: (folders: StagingFolders) => Promise<T>): Promise<T> {
    const { queue } = this.#owner;
    if (queue.length >= MAX_WAITING) {
      throw new UserError(`${queue.length} uploads and reloads wait already.`, {
        code: "UPLOAD_BUSY",
        hint: "Try again in a moment.",
      });
    }
    return queue.run(async () => {
      const folders = this.#owner.folders();
      if (folders !== null) return await action(folders);
      throw new UserError("The server is starting, stopping or being replaced.", {
        code: "UPLOAD_CLOSED",
        hint: "Nothing was changed. Try again in a moment.",
      });
    });
  }

  #mustBeOn(module: string): void {
    const { modules } = this.#owner.options();
    if (!Object.hasOwn(modules, module) || modules[module]?.enabled !== false) return;
    throw new UserError(`modules.${module}.enabled is false in the server's configuration.`, {
      code: "MODULE_OFF",
      hint: "Switch it on there and reload, or choose another name.",
    });
  }

  #mustBeThere({ modulesDir }: StagingFolders, module: string): void {
    if (findEntries(modulesDir, module).length > 0) return;
    throw new UserError(`There is no module ${JSON.stringify(module)} in the modules folder.`, {
      code: "NO_SUCH_MODULE",
      hint: "`hrmr modules` lists those that are served; one that ships with hrmr has no files there.",
    });
  }
}

/** Identifies an upload by its paths and contents. */
function digestOf(files: readonly ModuleContent[]): string {
  const hash = new Bun.CryptoHasher("sha256");
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, bytes } of sorted) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  return hash.digest("hex");
}

function toModuleFiles(module: string, read: readonly ReadFiles[]): ModuleFiles {
  return {
    module,
    files: read.flatMap(({ files }) => files.map(({ path, bytes }) => ({ path, ...encode(bytes) }))),
    skipped: read.flatMap(({ skipped }) => skipped),
  };
}

/** Text as text, so that people can read the answer. */
function encode(bytes: Uint8Array): { encoding: "utf8" | "base64"; content: string } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = buffer.toString();
  // Text would lose a byte order mark.
  const isText = !text.startsWith("\ufeff") && Buffer.from(text).equals(buffer);
  return isText ? { encoding: "utf8", content: text } : { encoding: "base64", content: buffer.toString("base64") };
}
