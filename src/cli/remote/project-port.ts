/** The port that the commands of a written file name: that of the project's own server. */
import { parseListen } from "../../config/listen";
import { DEFAULT_PORT } from "../../config/options";
import { loadConfig } from "../../config/resolve/load";
import { findPeer } from "./peer";
import { projectFolder } from "./project-folder";

/**
 * @param text of an example: its commands name the default port
 * @returns the text with the port of the running server, else with that of the config file
 */
export async function withProjectPort(text: string): Promise<string> {
  if (!text.includes(String(DEFAULT_PORT))) return text;
  const port = (await runningPort()) ?? (await configuredPort()) ?? DEFAULT_PORT;
  return text.replaceAll(new RegExp(`\\b${DEFAULT_PORT}\\b`, "g"), String(port));
}

/** @returns null: no server of this project runs, or it has no TCP listener */
async function runningPort(): Promise<number | null> {
  try {
    const { target } = await findPeer({});
    return target.transport === "tcp" ? target.port : null;
  } catch {
    return null;
  }
}

/** @returns null: the file cannot be read, or a start chooses a port */
async function configuredPort(): Promise<number | null> {
  try {
    const { listen = [] } = (await loadConfig(projectFolder(process.cwd()))).options;
    const first = listen.map(parseListen).find((address) => address?.transport === "tcp");
    return first?.transport === "tcp" && first.port !== 0 ? first.port : null;
  } catch {
    return null;
  }
}
