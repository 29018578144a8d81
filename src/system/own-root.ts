import { dirname, sep } from "node:path";

/** The folder of the server's own code, with a separator at the end: src/, or the binary's own file system. */
export const OWN_ROOT = dirname(import.meta.dir) + sep;
