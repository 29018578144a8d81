import { dirname, sep } from "node:path";

/** The folder that the server's own code lies in, with a separator at the end: src/, or the binary's own file system. */
export const OWN_ROOT = dirname(import.meta.dir) + sep;
