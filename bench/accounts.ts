/** Transfers between accounts: the requests of a load that are not all the same. Pure. */

/** JSON, so that it can be sent to the generator's process. */
export interface Accounts {
  readonly count: number;
  /** Account n is taken as often as n to the power of minus this: 0 takes all alike. */
  readonly skew: number;
}

/**
 * In a request, the places of two accounts, and of an id that is another one for each request of a write. Each is
 * replaced by as many letters.
 */
export const [PAYER, PAYEE, ID] = ["PAYER.", "PAYEE.", "ID"] as const;
const FIRST_ID = 10;
const DIGITS = 6;
/** Neighbours in the order of their frequency shall not lie beside each other in the database. */
const STRIDE = 7919;
const SEED = 20_261_129;

export function accountName(at: number): string {
  return String(at).padStart(DIGITS, "0");
}

/** @returns writes of `pipeline` requests with accounts of their own, the same ones in each run */
export function transferWrites(
  template: string,
  { count, skew }: Accounts,
  writes: number,
  pipeline: number,
): string[] {
  const random = randomFrom(SEED);
  const sums = sumsOf(count, skew);
  const draw = (): number => (placeIn(sums, random() * (sums.at(-1) as number)) * STRIDE) % count;
  const request = (at: number): string => {
    const payer = draw();
    let payee = draw();
    if (payee === payer) payee = (payer + 1) % count;
    const accounts = template.replace(PAYER, accountName(payer)).replace(PAYEE, accountName(payee));
    return accounts.replace(ID, String(FIRST_ID + at));
  };
  return Array.from({ length: writes }, () => Array.from({ length: pipeline }, (_, at) => request(at)).join(""));
}

function sumsOf(count: number, skew: number): Float64Array {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let at = 0; at < count; at++) sums[at] = sum += (at + 1) ** -skew;
  return sums;
}

/** @returns the first place whose sum is above the value */
function placeIn(sums: Float64Array, value: number): number {
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle] as number) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** mulberry32. @returns numbers from 0 to below 1 */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
