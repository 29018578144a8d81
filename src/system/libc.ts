/**
 * Calls into the C library by bun:ffi, where Bun has no function of its own: sd_notify's datagrams, inherited
 * descriptors, locks.
 */
import { dlopen, type FFIFunction, type Library } from "bun:ffi";

/** musl's file carries the processor's name, as `uname -m` spells it. */
const MUSL_MACHINES: Partial<Record<NodeJS.Architecture, string>> = { x64: "x86_64", arm64: "aarch64" };

/**
 * Opens the C library, whatever its name is here: glibc's, musl's or that of macOS.
 *
 * An `errno` cannot be read afterwards: the runtime makes calls of its own in between.
 * @param symbols the functions, in the form of bun:ffi's `dlopen`
 * @returns null where no such library is found, or one of the functions is missing in it. Never throws.
 */
export function openLibc<const Symbols extends Record<string, FFIFunction>>(
  symbols: Symbols,
): Library<Symbols>["symbols"] | null {
  for (const name of libcNames()) {
    try {
      return dlopen(name, symbols).symbols;
    } catch {
      // Try the next name. The caller gets null if all fail.
    }
  }
  return null;
}

/**
 * In the order in which they are tried. A bare libc.so comes last: with glibc it is a text for the linker, with musl
 * the library.
 */
function libcNames(): string[] {
  if (process.platform === "darwin") return ["libSystem.B.dylib"];
  const machine = MUSL_MACHINES[process.arch];
  return ["libc.so.6", ...(machine === undefined ? [] : [`libc.musl-${machine}.so.1`]), "libc.so"];
}
