/**
 * `hrmr service`: prints or installs the systemd unit that runs the project of a folder.
 */
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../config/user-error";
import { replaceFile } from "../../system/files/durable";
import { selfCommand } from "../../system/self";
import { badValue, type Flags, switchFlag, usageError, valueFlag } from "../flags";
import { NOTIFY_RELOAD_VERSION, serviceUnit, socketUnit, type UnitSettings } from "./service-unit";
import { resolveConfig } from "../start/options";

const UNIT_DIR = "/etc/systemd/system";
const DEFAULT_NAME = "hrmr";
const MAX_NAME_LENGTH = 64;

const args = {
  name: valueFlag(
    "name",
    `The unit's name, and that of its folders in /var/lib, /run and /var/log. Default ${DEFAULT_NAME}`,
  ),
  user: valueFlag("user", "The user that runs it. Default: one that systemd makes (DynamicUser)"),
  dir: valueFlag("dir", "The project's folder. Default: this one"),
  config: valueFlag("file", "Config file. Default: hrmr.json of the project, if there is one", { alias: "c" }),
  exec: valueFlag("file", "The program to start. Default: this one"),
  socket: switchFlag("Also a .socket unit: systemd opens the listeners"),
  systemd: valueFlag(
    "number",
    `For this version of systemd. Default: that of this machine, or ${NOTIFY_RELOAD_VERSION}`,
    { integer: { min: 240, max: 9999 } },
  ),
  install: switchFlag("Write the units instead of printing them"),
  "unit-dir": valueFlag("dir", `Where --install writes. Default ${UNIT_DIR}`),
  force: switchFlag("Replace existing units that differ"),
} as const satisfies Flags;

export const serviceCommand = defineCommand({
  meta: { name: "service", description: "Print, or install, a systemd unit for the project of this folder" },
  args,
  async run({ args: flags }) {
    const name = readName(flags.name ?? DEFAULT_NAME);
    const dir = resolve(flags.dir ?? ".");
    const config = await resolveConfig({ config: flags.config, listen: [] }, {}, dir);
    const settings: UnitSettings = {
      name,
      dir,
      configFile: config.file,
      options: config.options,
      command: flags.exec === undefined ? selfCommand([]) : [resolve(flags.exec)],
      user: flags.user === undefined ? null : readUser(flags.user),
      hasSocket: flags.socket === true,
      systemdVersion: flags.systemd === undefined ? installedVersion() : Number(flags.systemd),
    };
    const folder = resolve(flags["unit-dir"] ?? UNIT_DIR);
    const units = [
      { path: join(folder, `${name}.service`), text: serviceUnit(settings) },
      ...(settings.hasSocket ? [{ path: join(folder, `${name}.socket`), text: socketUnit(settings) }] : []),
    ];
    if (flags.install === true) install(units, settings, flags.force === true);
    else console.log(units.map(({ path, text }) => `# ${path}\n${text}`).join("\n"));
  },
});

interface Unit {
  readonly path: string;
  readonly text: string;
}

/** @throws UserError before anything is written: FOLDER_MISSING, NO_PROGRAM, UNIT_EXISTS; or CANNOT_WRITE */
function install(units: readonly Unit[], settings: UnitSettings, isForced: boolean): void {
  checkInstallable(settings);
  const changed = units.filter(({ path, text }) => !existsSync(path) || read(path) !== text);
  const taken = changed.find(({ path }) => existsSync(path));
  if (taken !== undefined && !isForced) {
    throw new UserError(`${taken.path} is there already and says something else.`, {
      code: "UNIT_EXISTS",
      hint: "Keep changes in a drop-in (`systemctl edit`) and replace the unit with --force, or take another --name.",
    });
  }
  for (const { path, text } of changed) write(path, text);
  for (const { path } of units)
    console.log(`${changed.some((unit) => unit.path === path) ? "wrote " : "kept  "} ${path}`);
  const unit = settings.hasSocket ? `${settings.name}.socket ${settings.name}.service` : settings.name;
  console.log(
    `\nNext:\n  systemctl daemon-reload\n  systemctl enable --now ${unit}\n  systemctl status ${settings.name}`,
  );
}

/** Refuses a unit that could not start. */
function checkInstallable({ dir, command }: UnitSettings): void {
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UserError(`There is no folder ${dir}.`, {
      code: "FOLDER_MISSING",
      hint: "Name the project's folder with --dir DIR.",
    });
  }
  const program = command[0] ?? "";
  try {
    accessSync(program, constants.X_OK);
  } catch (cause) {
    throw new UserError(`${program} is no program that can be started.`, {
      code: "NO_PROGRAM",
      hint: "Name hrmr's path with --exec FILE.",
      cause,
    });
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw cannot("read", path, cause);
  }
}

function write(path: string, text: string): void {
  try {
    replaceFile(path, text, 0o644);
  } catch (cause) {
    throw cannot("write", path, cause);
  }
}

function cannot(what: string, path: string, cause: unknown): UserError {
  const hint = "Run it as root, or without --install: then it prints what to put there.";
  return new UserError(`Cannot ${what} ${path} (${(cause as NodeJS.ErrnoException).code}).`, {
    code: "CANNOT_WRITE",
    hint,
    cause,
  });
}

/** @throws UserError BAD_NAME, exit code 2 */
function readName(name: string): string {
  if (/^[A-Za-z0-9][\w.-]*$/.test(name) && name.length <= MAX_NAME_LENGTH && !/\.(service|socket)$/.test(name))
    return name;
  throw usageError(
    "BAD_NAME",
    `--name cannot take ${JSON.stringify(name)}.`,
    `Letters, digits, ., - and _ make a name, ${MAX_NAME_LENGTH} at most, without .service behind it.`,
  );
}

/** @throws UserError BAD_VALUE, exit code 2 */
function readUser(user: string): string {
  if (/^[A-Za-z_][\w.-]*\$?$/.test(user) || /^\d+$/.test(user)) return user;
  throw badValue(`--user cannot take ${JSON.stringify(user)}.`, "Pass the name or the number of a user.");
}

/** The version of this machine's systemd; without one, the oldest that supports the whole unit. */
function installedVersion(): number {
  const systemctl = Bun.which("systemctl");
  if (systemctl === null) return NOTIFY_RELOAD_VERSION;
  const { stdout } = Bun.spawnSync([systemctl, "--version"], { stdout: "pipe", stderr: "ignore" });
  const version = Number(/^systemd (\d+)/.exec(stdout.toString())?.[1] ?? NaN);
  return Number.isNaN(version) ? NOTIFY_RELOAD_VERSION : version;
}
