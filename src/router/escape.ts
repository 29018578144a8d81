const NAMED: Record<number, string> = { 0x0a: "\\n", 0x0d: "\\r", 0x09: "\\t", 0x22: '\\"', 0x5c: "\\\\" };

/**
 * A peer's bytes as errors and logs show them: printable ASCII unchanged, `"` and `\` escaped, \r \n \t, all else \xNN.
 *
 * @param max bytes shown; "…" replaces the rest. Default 16.
 */
export function escapeBytes(bytes: Uint8Array, max = 16): string {
  let text = "";
  const shown = Math.min(bytes.length, max);
  for (let at = 0; at < shown; at++) text += escapeByte(bytes[at] ?? 0);
  return bytes.length > shown ? `${text}…` : text;
}

function escapeByte(byte: number): string {
  const named = NAMED[byte];
  if (named !== undefined) return named;
  if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** The reply to a message that no route takes, with its LF. `bytes`: the message from its first byte. */
export function noModuleError(bytes: Uint8Array): string {
  return `ERR no module is bound to "${escapeBytes(bytes)}"\n`;
}
