/**
 * The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). The code is canonical: the lengths alone determine
 * it. Strings are decoded by a state machine over half bytes.
 */

/** The length of each symbol's code in bits, a digit of base 36 each: the 256 bytes, then EOS. */
const LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad6777777777777777777777787" +
  "8djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllml" +
  "nmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu";
const EOS = 256;
/** The state machine's answer to bits that are no code. */
const INVALID = 0xffff;
/** The shortest code has 5 bits, so 8 bits are at most 1.6 symbols. */
const MAX_GROWTH = 8 / 5;

/** A place in the tree of codes. By the next bit it leads to another place, or to a symbol. */
interface Node {
  readonly state: number;
  readonly next: (Node | number | undefined)[];
}

/** By state * 16 + half byte: the next state, and the symbol that the half byte completes, or -1. */
const NEXT = new Uint16Array(256 * 16);
const SYMBOL = new Int16Array(256 * 16).fill(-1);
/** Whether a string may end in a state: at most 7 bits are left, all of them 1 (RFC 7541 section 5.2). */
const MAY_END = new Uint8Array(256);

buildMachine(buildTree());

/** Codes are given by length, and by symbol within a length (RFC 7541 appendix B). */
function buildTree(): Node[] {
  const lengths = Array.from(LENGTHS, (digit) => Number.parseInt(digit, 36));
  const symbols = [...lengths.keys()].sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b);
  const nodes: Node[] = [{ state: 0, next: [] }];
  let code = 0;
  let bits = lengths[symbols[0] as number] as number;
  for (const symbol of symbols) {
    const length = lengths[symbol] as number;
    code *= 2 ** (length - bits);
    bits = length;
    addCode(nodes, code, bits, symbol);
    code++;
  }
  return nodes;
}

function addCode(nodes: Node[], code: number, bits: number, symbol: number): void {
  let node = nodes[0] as Node;
  for (let at = bits - 1; at > 0; at--) {
    const bit = (code >>> at) & 1;
    const next = node.next[bit] as Node | undefined;
    if (next !== undefined) node = next;
    else {
      const made: Node = { state: nodes.length, next: [] };
      nodes.push(made);
      node.next[bit] = made;
      node = made;
    }
  }
  node.next[code & 1] = symbol;
}

function buildMachine(nodes: readonly Node[]): void {
  const root = nodes[0] as Node;
  for (const { state } of nodes) for (let half = 0; half < 16; half++) addStep(root, nodes[state] as Node, half);
  let padding: Node | number | undefined = root;
  for (let bits = 0; bits <= 7 && typeof padding === "object"; bits++) {
    MAY_END[padding.state] = 1;
    padding = padding.next[1];
  }
}

function addStep(root: Node, from: Node, half: number): void {
  const index = from.state * 16 + half;
  let node = from;
  for (let at = 3; at >= 0; at--) {
    const next = node.next[(half >>> at) & 1];
    if (typeof next === "object") node = next;
    else if (next === undefined || next === EOS) {
      NEXT[index] = INVALID;
      return;
    } else {
      SYMBOL[index] = next;
      node = root;
    }
  }
  NEXT[index] = node.state;
}

let scratch = Buffer.allocUnsafeSlow(4096);

/**
 * Decodes a string.
 *
 * @returns a character a byte; null for bits that are no code, and for wrong padding
 */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number): string | null {
  const most = Math.ceil((to - from) * MAX_GROWTH);
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most * 2);
  const out = scratch;
  let state = 0;
  let length = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    let index = state * 16 + (byte >>> 4);
    let symbol = SYMBOL[index] as number;
    if (symbol >= 0) out[length++] = symbol;
    state = NEXT[index] as number;
    if (state === INVALID) return null;
    index = state * 16 + (byte & 15);
    symbol = SYMBOL[index] as number;
    if (symbol >= 0) out[length++] = symbol;
    state = NEXT[index] as number;
    if (state === INVALID) return null;
  }
  return MAY_END[state] === 1 ? out.latin1Slice(0, length) : null;
}
