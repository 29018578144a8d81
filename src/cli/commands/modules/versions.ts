/** `hrmr versions [MODULE]`: the kept versions that have served, newest first. */
import { defineCommand } from "citty";
import type { VersionReport } from "../../../reload/operations";
import { askServer, CONTROL_ARGS } from "../../remote/control-target";
import { argument, type Flags } from "../../flags";
import {
  cleanText,
  type Colour,
  type Column,
  lineWidth,
  type Paint,
  paintFor,
  printJson,
  tableLines,
} from "../../screen/terminal";

const args = {
  module: argument("Only this module. Default: all", { required: false }),
  ...CONTROL_ARGS,
} as const satisfies Flags;

type Versions = Readonly<Record<string, readonly VersionReport[]>>;

const TITLES = ["", "VERSION", "HASH", "SINCE", "FROM", "STANDING"];
const COLUMNS: readonly Column[] = [...TITLES.map((title) => ({ title })), { title: "", isNote: true }];

const STANDING_COLOURS: Record<VersionReport["verdict"], Colour> = {
  good: "green",
  probation: "yellow",
  "rolled back": "red",
  crashed: "red",
};

export const versionsCommand = defineCommand({
  meta: { name: "versions", description: "List the versions of modules that have served, with their standings" },
  args,
  async run({ args: flags }) {
    const { module } = flags;
    const route = module === undefined ? "/v1/versions" : `/v1/modules/${encodeURIComponent(module)}/versions`;
    const body = await askServer<Versions>(flags, "GET", route);
    if (flags.json === true) return printJson(body);
    console.log(versionsScreen(body, lineWidth(), paintFor(process.stdout)));
  },
});

/** @param width  of a line; Infinity: nothing is cut. @returns a table for each module */
function versionsScreen(versions: Versions, width: number, paint: Paint): string {
  const blocks = Object.entries(versions).map(([name, records]) => {
    const rows = [...records].reverse().map((record) => row(record, paint));
    return [paint(cleanText(name), "bold"), ...tableLines(COLUMNS, rows, width, paint)].join("\n");
  });
  return blocks.length === 0 ? "No version has been kept yet." : blocks.join("\n\n");
}

function row({ number, hash, at, from, of, verdict, reason, isLive, isKept }: VersionReport, paint: Paint): string[] {
  const origin = of === null ? from : `${from} to v${of}`;
  const notes = [...(reason === null ? [] : [cleanText(reason)]), ...(isKept ? [] : ["its bundle is gone"])];
  return [
    isLive ? "*" : "",
    `v${number}`,
    hash,
    shownTime(at),
    origin,
    paint(verdict, STANDING_COLOURS[verdict]),
    notes.join("; "),
  ];
}

/** In local time: "2026-11-20 12:00:07". */
function shownTime(at: string): string {
  return new Date(at).toLocaleString("sv-SE");
}
