/** From the start of the binary to the line that says it listens. */
import type { Row } from "../bench";
import { makeProject } from "../project";
import { buildBinary, startProcess } from "../server";
import { median } from "../statistics";
import { figureLine, spreadText } from "../table";
import { startArguments } from "./start-arguments";

const STARTS = 10;

export const startRow: Row = {
  name: "start",
  async run() {
    const program = { argv: await buildBinary(), description: "" };
    // Naming a module that ships with hrmr switches it on; http is on anyway.
    const dir = makeProject({ "hrmr.json": JSON.stringify({ modules: { echo: {}, counter: {} } }) });
    const times: number[] = [];
    let says = "";
    for (let i = 0; i < STARTS; i++) {
      const server = await startProcess("hrmr", startArguments({ program }), dir);
      times.push(server.startMs);
      says = /\d+ modules, .*/.exec(server.output())?.[0] ?? says;
      await server.stop();
    }
    if (!says.startsWith("3 modules")) throw new Error(`the shipped modules are three, but the server said: ${says}`);
    const hrmr = `says ${/ready in .*/.exec(says)?.[0] ?? ""}`;
    return [
      figureLine({
        title: "binary, start to listening",
        value: median(times),
        most: 100,
        unit: " ms",
        digits: 0,
        hrmr,
        spread: spreadText(times, 0),
      }),
    ];
  },
};
