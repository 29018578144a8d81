import { defineCommand } from "citty";
import { version } from "../../package.json";

/** The program's version, from package.json; the build embeds it. */
export const VERSION: string = version;

/** `hrmr version`, `hrmr -V`, `hrmr --version`. */
export const versionCommand = defineCommand({
  meta: { name: "version", description: "Print the version" },
  run() {
    console.log(`hrmr ${VERSION}`);
  },
});
