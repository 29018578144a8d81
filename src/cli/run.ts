import { type CommandDef, runCommand, type SubCommandsDef } from "citty";
import { checkArgs, type Flags } from "./flags";
import { findCommand, helpCommand, showHelp } from "./help";
import { versionCommand } from "./commands/version";

/** Each command has its own file, loaded when it is used: `hrmr send` needs no server. */
const COMMANDS: SubCommandsDef = {
  start: () => import("./commands/start").then((file) => file.startCommand),
  stop: () => import("./commands/stop").then((file) => file.stopCommand),
  reload: () => import("./commands/modules/reload").then((file) => file.reloadCommand),
  restart: () => import("./commands/restart").then((file) => file.restartCommand),
  upgrade: () => import("./commands/upgrade").then((file) => file.upgradeCommand),
  status: () => import("./commands/status").then((file) => file.statusCommand),
  modules: () => import("./commands/modules/modules").then((file) => file.modulesCommand),
  push: () => import("./commands/modules/push").then((file) => file.pushCommand),
  pull: () => import("./commands/modules/pull").then((file) => file.pullCommand),
  remove: () => import("./commands/modules/remove").then((file) => file.removeCommand),
  versions: () => import("./commands/modules/versions").then((file) => file.versionsCommand),
  run: () => import("./commands/modules/run").then((file) => file.runTaskCommand),
  rollback: () => import("./commands/modules/rollback").then((file) => file.rollbackCommand),
  config: () => import("./commands/config").then((file) => file.configCommand),
  validate: () => import("./commands/validate").then((file) => file.validateCommand),
  init: () => import("./commands/init").then((file) => file.initCommand),
  new: () => import("./commands/modules/new").then((file) => file.newCommand),
  examples: () => import("./commands/examples").then((file) => file.examplesCommand),
  add: () => import("./commands/modules/add").then((file) => file.addCommand),
  types: () => import("./commands/modules/types").then((file) => file.typesCommand),
  check: () => import("./commands/modules/check").then((file) => file.checkCommand),
  client: () => import("./commands/modules/client").then((file) => file.clientCommand),
  test: () => import("./commands/modules/test").then((file) => file.testCommand),
  token: () => import("./commands/token").then((file) => file.tokenCommand),
  store: () => import("./commands/store/store").then((file) => file.storeCommand),
  backup: () => import("./commands/store/backup").then((file) => file.backupCommand),
  restore: () => import("./commands/store/restore").then((file) => file.restoreCommand),
  cert: () => import("./commands/cert").then((file) => file.certCommand),
  send: () => import("./commands/send").then((file) => file.sendCommand),
  call: () => import("./commands/call").then((file) => file.callCommand),
  service: () => import("./commands/service").then((file) => file.serviceCommand),
  completion: () => import("./completion/index").then((file) => file.completionCommand),
  version: versionCommand,
  help: helpCommand,
};

const HELP_FLAGS = ["--help", "-help", "-h"];
const VERSION_FLAGS = ["--version", "-version", "-v"];
const BUILD_FLAG = "-V";

/**
 * Runs the command that `argv` (without the program's own name) asks for; none, or only flags, is `start`.
 *
 * @returns the exit code
 * @throws UserError for errors that the user can mend, exit code 2 for a mistake in `argv`
 */
export async function runCli(argv: readonly string[]): Promise<number> {
  const isNamed = argv[0] !== undefined && !argv[0].startsWith("-");
  const name = isNamed ? String(argv[0]) : "start";
  const raw = isNamed ? argv.slice(1) : argv;
  const before = raw.includes("--") ? raw.slice(0, raw.indexOf("--")) : raw;
  if (before.includes(BUILD_FLAG)) return await runCli(["version", "--verbose"]);
  if (before.some((word) => VERSION_FLAGS.includes(word))) return await runCli(["version"]);
  if (before.some((word) => HELP_FLAGS.includes(word))) {
    await showHelp(COMMANDS, isNamed ? name : undefined);
    return 0;
  }
  const command = (await findCommand(COMMANDS, name)) as CommandDef;
  const rawArgs = checkArgs(name, raw, (command.args ?? {}) as Flags);
  if (name === "help") {
    await showHelp(COMMANDS, rawArgs[1]);
    return 0;
  }
  if (name === "completion") {
    const { renderCompletion } = await import("./completion/index");
    console.log(await renderCompletion(COMMANDS, rawArgs[1] ?? ""));
    return 0;
  }
  const { result } = await runCommand(command, { rawArgs });
  return typeof result === "number" ? result : 0;
}
