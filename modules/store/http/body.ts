/** The body of a request, as a text with JSON. */
import { Refusal } from "../refusal";

const JSON_TYPE = /^application\/json\s*(?:;|$)/i;
const PATCH_TYPE = /^application\/(?:merge-patch\+)?json\s*(?:;|$)/i;

/** @returns not parsed. @throws Refusal */
export async function readText(request: Request): Promise<string> {
  const isPatch = request.method === "PATCH";
  if (!(isPatch ? PATCH_TYPE : JSON_TYPE).test(request.headers.get("content-type") ?? ""))
    throw new Refusal(
      415,
      "INVALID_VALUE",
      `send JSON, with Content-Type: application/${isPatch ? "merge-patch+json" : "json"}`,
      // RFC 5789 section 3.1.
      isPatch ? { "Accept-Patch": "application/merge-patch+json, application/json" } : {},
    );
  const bytes = await request.bytes();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal(400, "INVALID_VALUE", "the body is not UTF-8");
  }
}

/** A document has at most 200, and a batch some around it. */
const MAX_LEVELS = 250;

/** @throws Refusal */
export function parseBody(text: string): unknown {
  // Before it is parsed: that takes seconds for millions of brackets.
  if (levelsOf(text) > MAX_LEVELS)
    throw new Refusal(413, "TOO_LARGE", `the body is nested more than ${MAX_LEVELS} deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = (error as Error).message.replace(/^JSON Parse error: /, "").slice(0, 200);
    throw new Refusal(400, "INVALID_VALUE", `the body is not JSON: ${why}`);
  }
}

/** @returns one more than MAX_LEVELS, if there are more */
function levelsOf(json: string): number {
  let level = 0;
  let deepest = 0;
  let isString = false;
  for (let at = 0; at < json.length && deepest <= MAX_LEVELS; at++) {
    const letter = json.charCodeAt(at);
    if (letter === QUOTE) isString = !isString;
    else if (isString) at += letter === BACKSLASH ? 1 : 0;
    else if (letter === OPEN_BRACKET || letter === OPEN_BRACE) deepest = Math.max(deepest, ++level);
    else if (letter === CLOSE_BRACKET || letter === CLOSE_BRACE) level--;
  }
  return deepest;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
