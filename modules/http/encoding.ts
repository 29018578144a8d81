/**
 * Chooses the coding for a client (RFC 9110 section 12.5.3): a compressed file beside the file, or the file compressed
 * here, once.
 */
import { open } from "node:fs/promises";
import { promisify } from "node:util";
import { factsOf, isSame, openInside, READ_FLAGS, stat, type Entry, type FileFacts } from "./disk";
import { diskPath } from "./names";
import { contentCoding } from "./types";
import {
  charge,
  describe,
  isKept,
  makeNegotiated,
  readBody,
  sizeInMemory,
  type Coding,
  type Form,
  type Page,
  type Site,
} from "./site";

/**
 * Ordered by the cost of compressing: 1.2, 2.3 and 3.3 ms for 100 KB of source text. The results have 31, 29 and 28 %
 * of its size.
 */
const CHEAPEST_FIRST: readonly Coding[] = ["zstd", "gzip", "br"];

// Loaded with the first page that is compressed: a start does not wait for it.
const zlib = (): typeof import("node:zlib") => process.getBuiltinModule("node:zlib");

// Each runs off the main thread.
const COMPRESSORS: Record<Coding, (bytes: Uint8Array) => Promise<Buffer>> = {
  zstd: (bytes) => promisify(zlib().zstdCompress)(bytes),
  gzip: (bytes) => promisify(zlib().gzip)(bytes),
  br(bytes) {
    const { brotliCompress, constants } = zlib();
    return promisify(brotliCompress)(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
  },
};

const SUFFIXES: Record<Coding, string> = { br: ".br", zstd: ".zst", gzip: ".gz" };

/**
 * How old the list of siblings may be: a new one is noticed after this time, a changed or deleted one at once. In
 * milliseconds.
 */
const SIBLINGS_MS = 1000;
const NO_SIBLINGS: ReadonlyMap<Coding, FileFacts> = new Map();

/** An Accept-Encoding header, parsed. */
interface Wishes {
  /** Codings that are preferred to none, or equal to it, best first; each list has codings of equal weight. */
  readonly groups: readonly (readonly Coding[])[];
  readonly refusesPlain: boolean;
}

/**
 * The form for a client.
 *
 * @param header  its Accept-Encoding
 * @returns null if the client takes none of the forms; a promise while the form is being made for the first time
 */
export function chooseForm(site: Site, page: Page, header: string): Form | null | Promise<Form | null> {
  // The file exists only in this coding, so send it whatever the client accepts.
  if (contentCoding(page.plain.path) !== null) return page.plain;
  const wishes = readWishes(header);
  const siblings = wishes.groups.length === 0 ? NO_SIBLINGS : currentSiblings(site, page);
  for (const group of wishes.groups) {
    const sibling = smallestSibling(site, page, siblings, group);
    if (sibling !== null) return sibling;
    const coding = CHEAPEST_FIRST.find((one) => group.includes(one));
    if (coding === undefined || !mayPack(site, page, wishes.refusesPlain)) continue;
    const packed = pack(site, page, coding, wishes.refusesPlain);
    if (packed instanceof Promise) return packed.then((form) => form ?? plainIfTaken(page, wishes));
    // If one coding cannot make it smaller, no coding can.
    return packed ?? plainIfTaken(page, wishes);
  }
  return plainIfTaken(page, wishes);
}

function plainIfTaken(page: Page, wishes: Wishes): Form | null {
  return wishes.refusesPlain ? null : page.plain;
}

// ---- Accept-Encoding ----

const wishesByHeader = new Map<string, Wishes>();
const MAX_HEADERS = 64;

function readWishes(header: string): Wishes {
  const known = wishesByHeader.get(header);
  if (known !== undefined) return known;
  const wishes = parseWishes(header);
  // All browsers together send a handful. A client that sends thousands must not fill the memory.
  if (wishesByHeader.size >= MAX_HEADERS) wishesByHeader.clear();
  wishesByHeader.set(header, wishes);
  return wishes;
}

function parseWishes(header: string): Wishes {
  const weights = readWeights(header);
  const others = weights.get("*");
  const weightOf = (name: Coding): number =>
    weights.get(name) ?? (name === "gzip" ? weights.get("x-gzip") : undefined) ?? others ?? 0;
  // If the header does not mention it, no coding is acceptable, and every named coding is better.
  const plain = weights.get("identity") ?? others ?? Number.MIN_VALUE;
  const liked = CHEAPEST_FIRST.filter((name) => weightOf(name) > 0 && weightOf(name) >= plain);
  const levels = [...new Set(liked.map(weightOf))].sort((a, b) => b - a);
  return { groups: levels.map((level) => liked.filter((name) => weightOf(name) === level)), refusesPlain: plain === 0 };
}

/** Names of a list with their weights (RFC 9110 section 12.4.2), in lower case. An invalid weight counts as 0. */
export function readWeights(header: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const element of header.toLowerCase().split(",")) {
    const [name = "", ...parameters] = element.split(";").map((part) => part.trim());
    if (name === "") continue;
    const given = parameters.find((parameter) => /^q\s*=/.test(parameter));
    const weight = given === undefined ? 1 : /^q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.exec(given)?.[1];
    weights.set(name, Number(weight ?? 0));
  }
  return weights;
}

// ---- compressed files beside the file ----

function currentSiblings(site: Site, page: Page): ReadonlyMap<Coding, FileFacts> {
  const now = Date.now();
  // Also right if the clock was set back.
  if (Math.abs(now - page.siblingsSeenAt) < SIBLINGS_MS) return page.siblings;
  page.siblingsSeenAt = now;
  let found: Map<Coding, FileFacts> | null = null;
  for (const coding of CHEAPEST_FIRST) {
    using entry = openSibling(site, page, coding);
    if (entry !== null) (found ??= new Map()).set(coding, factsOf(entry.stats));
  }
  if (found !== null) makeNegotiated(site, page);
  page.siblings = found ?? NO_SIBLINGS;
  return page.siblings;
}

/** @returns null if there is none, or it is older than the file and so holds another version */
function openSibling(site: Site, page: Page, coding: Coding): Entry | null {
  const entry = openInside(site.settings.root, page.plain.path + SUFFIXES[coding]);
  if (entry === null || (entry.stats.isFile() && entry.stats.mtimeMs >= page.plain.facts.mtimeMs)) return entry;
  entry[Symbol.dispose]();
  return null;
}

function smallestSibling(
  site: Site,
  page: Page,
  siblings: ReadonlyMap<Coding, FileFacts>,
  group: readonly Coding[],
): Form | null {
  if (siblings.size === 0) return null;
  const there = group.filter((coding) => siblings.has(coding));
  const bySize = there.sort((a, b) => (siblings.get(a)?.size ?? 0) - (siblings.get(b)?.size ?? 0));
  for (const coding of bySize) {
    const form = siblingForm(site, page, coding);
    if (form !== null) return form;
  }
  return null;
}

function siblingForm(site: Site, page: Page, coding: Coding): Form | null {
  const known = page.siblingForms.get(coding);
  const path = page.plain.path + SUFFIXES[coding];
  if (known !== undefined) {
    if (isSame(known.facts, stat(path))) return known;
    page.siblingForms.delete(coding);
    discharge(site, page, known);
  }
  using entry = openSibling(site, page, coding);
  if (entry === null) return null;
  const facts = factsOf(entry.stats);
  const body = readBody(site.settings, entry, "");
  if (body === undefined) return null;
  const { name, vary, look } = page;
  const form = describe(site.settings, { path, facts, name, type: page.plain.type, body, vary, coding, look });
  const isYoung = form.etag.startsWith("W/");
  if (!isYoung && isKept(site, page) && charge(site, page, sizeInMemory(body))) page.siblingForms.set(coding, form);
  return form;
}

function discharge(site: Site, page: Page, form: Form): void {
  const bytes = sizeInMemory(form.body);
  page.cost -= bytes;
  if (isKept(site, page)) site.cachedBytes -= bytes;
}

// ---- compressed here ----

/** Only kept forms are compressed, so that each is compressed once. */
function mayPack(site: Site, page: Page, isTheOnlyWay: boolean): boolean {
  if (site.settings.compress !== true || !isKept(site, page)) return false;
  return page.isCompressible || (isTheOnlyWay && page.plain.bytes <= site.settings.compressMaxBytes);
}

function pack(site: Site, page: Page, coding: Coding, isTheOnlyWay: boolean): Form | null | Promise<Form | null> {
  const known = page.packed.get(coding);
  if (known !== undefined && (known !== null || !isTheOnlyWay)) return known;
  const making = makePacked(site, page, coding, isTheOnlyWay);
  page.packed.set(coding, making);
  return making;
}

async function makePacked(site: Site, page: Page, coding: Coding, isTheOnlyWay: boolean): Promise<Form | null> {
  try {
    const { path, facts, type, body: plainBody } = page.plain;
    const bytes = plainBody === null ? await readUnchanged(path, facts) : await new Response(plainBody).bytes();
    const packed = await COMPRESSORS[coding](bytes);
    const isSmaller = packed.length < bytes.length;
    if (!isSmaller && !isTheOnlyWay) return remember(page, coding, null);
    const { name, vary, look } = page;
    const body = new Blob([packed as Buffer<ArrayBuffer>]);
    const form = describe(site.settings, { path, facts, name, type, body, vary, coding, bytes: body.size, look });
    // A form without room in the cache would be made again and again.
    const isRoom = isKept(site, page) && charge(site, page, sizeInMemory(body));
    remember(page, coding, isRoom ? form : null);
    return form;
  } catch {
    // It was changed or deleted meanwhile. The reply with the plain form finds that out.
    page.packed.delete(coding);
    return null;
  }
}

function remember(page: Page, coding: Coding, form: Form | null): Form | null {
  page.packed.set(coding, form);
  return form;
}

/** The name may now lead elsewhere, so check the opened file before and after reading it. */
async function readUnchanged(path: string, facts: FileFacts): Promise<Buffer> {
  await using file = await open(diskPath(path), READ_FLAGS);
  const isUnchanged = async (): Promise<boolean> => isSame(facts, factsOf(await file.stat()));
  const bytes = (await isUnchanged()) ? await file.readFile() : null;
  if (bytes === null || !(await isUnchanged())) throw new Error(`${path} was changed while it was being compressed.`);
  return bytes;
}
