/** When a document is gone: the options of SET and GETEX, EXPIRE and its kin, TTL and its kin. */
import { type Call, type CommandSpec, integerAt, ONE_KEY, wordAt } from "../call";
import { fail, NOT_INTEGER } from "../errors";
import { keyAt } from "../values";

/** In milliseconds since 1970. null: it stays. "keep": as before. */
export type Expiry = number | null | "keep";

/** The latest moment that a Date has. */
const LATEST_MS = 8.64e15;

interface Unit {
  readonly ms: number;
  readonly isAbsolute: boolean;
}

export const EXPIRY_UNITS: Readonly<Record<string, Unit>> = {
  EX: { ms: 1000, isAbsolute: false },
  PX: { ms: 1, isAbsolute: false },
  EXAT: { ms: 1000, isAbsolute: true },
  PXAT: { ms: 1, isAbsolute: true },
};

/** @param index of the number. @returns in milliseconds since 1970. @throws ReplyError: it must be above 0 */
export function positiveExpiryAt(call: Call, index: number, unit: Unit): number {
  const amount = integerAt(call, index, NOT_INTEGER);
  if (amount <= 0) invalid(call);
  return momentOf(call, amount, unit);
}

function momentOf(call: Call, amount: number, { ms, isAbsolute }: Unit): number {
  const moment = amount * ms + (isAbsolute ? 0 : Date.now());
  return Math.abs(moment) > LATEST_MS ? invalid(call) : moment;
}

function invalid({ args }: Call): never {
  fail(`ERR invalid expire time in '${args.latin1(0).toLowerCase()}' command`);
}

/** Writes a document that is gone at some time. If that is over, there is none. */
export async function setUntil({ documents }: Call, key: string, value: unknown, expiry: Expiry): Promise<void> {
  if (expiry === null) return void (await documents.set(key, value));
  if (expiry === "keep") return void (await documents.set(key, value, { ttlMs: "keep" }));
  if (expiry > Date.now()) await documents.set(key, value, { expiresAt: expiry });
  else await documents.delete(key);
}

/** @param document as it is. @param expiry null: it stays */
export async function expireAt(
  { documents }: Call,
  { key, value }: { readonly key: string; readonly value: unknown },
  expiry: number | null,
): Promise<void> {
  if (expiry === null) await documents.expire(key, null);
  else if (expiry > Date.now()) await documents.set(key, value, { expiresAt: expiry });
  else await documents.delete(key);
}

const FLAGS = ["NX", "XX", "GT", "LT"];

async function expire(call: Call, unit: Unit): Promise<void> {
  const moment = momentOf(call, integerAt(call, 2), unit);
  const flags = new Set<string>();
  for (let at = 3; at < call.args.length; at++) {
    if (!FLAGS.includes(wordAt(call, at))) fail(`ERR Unsupported option ${call.args.utf8(at)}`);
    flags.add(wordAt(call, at));
  }
  if (flags.has("NX") && flags.size > 1) fail("ERR NX and XX, GT or LT options at the same time are not compatible");
  if (flags.has("GT") && flags.has("LT")) fail("ERR GT and LT options at the same time are not compatible");
  const key = keyAt(call.args, 1);
  const document = await call.documents.get(key);
  const isChanged = document !== null && applies(flags, document.expiresAt, moment);
  if (isChanged) await expireAt(call, { key, value: document.value }, moment);
  call.out.integer(isChanged ? 1 : 0);
}

/** @param before null: it stays, which is later than any moment */
function applies(flags: ReadonlySet<string>, before: number | null, moment: number): boolean {
  if (flags.has("NX") && before !== null) return false;
  if (flags.has("XX") && before === null) return false;
  if (flags.has("GT") && (before === null || moment <= before)) return false;
  return !(flags.has("LT") && before !== null && moment >= before);
}

/** Reads a document's time. @param shown  of milliseconds since 1970 */
async function tellExpiry(call: Call, shown: (expiresAt: number) => number): Promise<void> {
  const document = await call.documents.get(keyAt(call.args, 1));
  if (document === null) return call.out.integer(-2);
  call.out.integer(document.expiresAt === null ? -1 : Math.max(0, shown(document.expiresAt)));
}

async function persist(call: Call): Promise<void> {
  const key = keyAt(call.args, 1);
  const document = await call.documents.get(key);
  const isChanged = document !== null && document.expiresAt !== null;
  if (isChanged) await call.documents.expire(key, null);
  call.out.integer(isChanged ? 1 : 0);
}

const seconds = (ms: number): number => Math.floor((ms + 500) / 1000);

const write = (name: string, since: string, unit: Unit, summary: string): CommandSpec => ({
  name,
  arity: -3,
  use: "write",
  keys: ONE_KEY,
  group: "generic",
  since,
  summary,
  run: (call) => expire(call, unit),
});
const read = (name: string, since: string, summary: string, shown: (expiresAt: number) => number): CommandSpec => ({
  name,
  arity: 2,
  use: "read",
  keys: ONE_KEY,
  group: "generic",
  since,
  summary,
  run: (call) => tellExpiry(call, shown),
});

export const EXPIRY: readonly CommandSpec[] = [
  write("expire", "1.0.0", { ms: 1000, isAbsolute: false }, "Sets the seconds until a key is gone."),
  write("pexpire", "2.6.0", { ms: 1, isAbsolute: false }, "Sets the milliseconds until a key is gone."),
  write("expireat", "1.2.0", { ms: 1000, isAbsolute: true }, "Sets when a key is gone, in seconds since 1970."),
  write("pexpireat", "2.6.0", { ms: 1, isAbsolute: true }, "Sets when a key is gone, in milliseconds since 1970."),
  read("ttl", "1.0.0", "Returns the seconds until a key is gone.", (at) => seconds(at - Date.now())),
  read("pttl", "2.6.0", "Returns the milliseconds until a key is gone.", (at) => at - Date.now()),
  read("expiretime", "7.0.0", "Returns when a key is gone, in seconds since 1970.", seconds),
  read("pexpiretime", "7.0.0", "Returns when a key is gone, in milliseconds since 1970.", (at) => at),
  {
    name: "persist",
    arity: 2,
    use: "write",
    keys: ONE_KEY,
    group: "generic",
    since: "2.2.0",
    summary: "Lets a key stay.",
    run: persist,
  },
];
