/** The error of an address that the server cannot listen on. */
import { formatListen, type ListenAddress } from "../config/listen";
import { messageOf, UserError } from "../config/user-error";

/** @returns two lines for the user: what happened where, and what to do */
export function listenError(address: ListenAddress, error: unknown): Error {
  const isUnix = address.transport === "unix";
  const code = (error as { code?: string }).code ?? "";
  const reasons: Record<string, [string, string]> = {
    EADDRINUSE: [
      `the ${isUnix ? "socket" : "port"} is in use`,
      isUnix
        ? "Stop the other program, or choose another path."
        : "Stop the other program, or pass --port 0 to take any free port.",
    ],
    EACCES: [
      "permission denied",
      isUnix ? "Choose a folder that you may write to." : "Ports below 1024 need privileges: choose a higher one.",
    ],
    EADDRNOTAVAIL: [
      "this machine has no such address",
      "Use 127.0.0.1, ::1, 0.0.0.0 or one of the machine's own addresses.",
    ],
    ENOENT: ["there is no such folder", "Make the folder first, or choose another path."],
  };
  const [reason, hint] = reasons[code] ?? [messageOf(error), "Check the address."];
  return new UserError(`Cannot listen on ${formatListen(address)}: ${reason}${code === "" ? "" : ` (${code})`}.`, {
    code: "LISTEN_FAILED",
    hint,
    cause: error,
  });
}
