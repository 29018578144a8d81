/** Numbers as Redis reads and writes them. Pure. */

const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;

/** @returns null: it is no integer of 64 bits. Beyond 2^53 the number is not exact */
export function readInteger(text: string): number | null {
  if (!INTEGER.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) || BigInt.asIntN(64, BigInt(text)) === BigInt(text) ? value : null;
}

const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,5})?$/i;

/** @returns null: it is no number. "inf" and "-inf" are */
export function readDouble(text: string): number | null {
  if (/^[+-]?inf(?:inity)?$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  if (!DECIMAL.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/**
 * A number with 64 binary digits, as Redis adds on x86 in INCRBYFLOAT: `digits` times 2 to the power of `exponent`.
 * Doubles would give 0.30000000000000004 for 0.1 and 0.2, and Redis does not.
 */
export interface LongDouble {
  readonly digits: bigint;
  readonly exponent: number;
}

const PRECISION = 64;
/** More would be slow to work with, and no client needs it. */
const MAX_MAGNITUDE = 300;

/** @returns null: it is no number, or its size is beyond 1e300 */
export function readLongDouble(text: string): LongDouble | null {
  if (text.length > 400 || !DECIMAL.test(text)) return null;
  const [mantissa = "", power = "0"] = text.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.replace(/^[+-]/, "").split(".");
  const digits = BigInt(whole + fraction);
  const tens = Number(power) - fraction.length;
  if (digits !== 0n && Math.abs(String(digits).length + tens) > MAX_MAGNITUDE) return null;
  const sign = mantissa.startsWith("-") ? -1n : 1n;
  if (tens >= 0) return rounded(sign * digits * 10n ** BigInt(tens), 0);
  // Enough binary digits in front of the division that the rest cannot change the rounding but by a tie.
  const divisor = 10n ** BigInt(-tens);
  const shift = Math.max(0, PRECISION + 2 + bitsOf(divisor) - bitsOf(digits));
  const dividend = digits << BigInt(shift);
  const quotient = dividend / divisor;
  const sticky = quotient * divisor === dividend ? 0n : 1n;
  return rounded(sign * ((quotient << 1n) | sticky), -shift - 1);
}

export function addLongDoubles(a: LongDouble, b: LongDouble): LongDouble {
  const exponent = Math.min(a.exponent, b.exponent);
  const sum = (a.digits << BigInt(a.exponent - exponent)) + (b.digits << BigInt(b.exponent - exponent));
  return rounded(sum, exponent);
}

/** With at most 17 digits behind the point, and no zeros at the end. */
export function longDoubleText({ digits, exponent }: LongDouble): string {
  const scaled = digits * 10n ** 17n;
  const [value, rest] =
    exponent >= 0 ? [scaled << BigInt(exponent), 0n] : divided(scaled < 0n ? -scaled : scaled, -exponent);
  const magnitude = value < 0n ? -value : value;
  const text = String(magnitude + rest).padStart(18, "0");
  const fraction = text.slice(-17).replace(/0+$/, "");
  const whole = text.slice(0, -17);
  const isNegative = digits < 0n && !/^0*$/.test(text);
  return `${isNegative ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

/** @returns the quotient by a power of two, and 1 if it must be rounded up (to even on a tie) */
function divided(value: bigint, power: number): [bigint, bigint] {
  const quotient = value >> BigInt(power);
  const rest = value - (quotient << BigInt(power));
  const half = 1n << BigInt(power - 1);
  return [quotient, rest > half || (rest === half && (quotient & 1n) === 1n) ? 1n : 0n];
}

/** To 64 binary digits, to even on a tie. */
function rounded(digits: bigint, exponent: number): LongDouble {
  const magnitude = digits < 0n ? -digits : digits;
  const excess = bitsOf(magnitude) - PRECISION;
  if (excess <= 0) return { digits, exponent };
  const [quotient, up] = divided(magnitude, excess);
  return { digits: digits < 0n ? -(quotient + up) : quotient + up, exponent: exponent + excess };
}

function bitsOf(value: bigint): number {
  return value.toString(2).length;
}
