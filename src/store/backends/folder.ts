import { dirname } from "node:path";
import { syncFolder } from "../../system/files/durable";
import { makePrivateFolder } from "../../system/private-files";

/** Makes the folder of a database with its parents. Their names are on the disk when this returns. */
export function makeFolderOf(path: string): void {
  const folder = dirname(path);
  const outermost = makePrivateFolder(folder);
  if (outermost === undefined) return;
  for (let made = folder; ; made = dirname(made)) {
    syncFolder(dirname(made));
    if (made === outermost) return;
  }
}
