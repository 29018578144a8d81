/** docs/glossary.md has every word that a key of hrmr.json or of the status is made of. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CONFIG_KEYS, MODULE_KEYS } from "../src/config/schema/key-list";

const read = (path: string): string => readFileSync(join(import.meta.dir, "..", path), "utf8");
const page = read("docs/glossary.md");

/** `limits.maxBodyBytes` to limits, max, body, bytes. */
function wordsOf(key: string): string[] {
  return key.match(/[A-Z]?[a-z]+\d*/g)?.map((word) => word.toLowerCase()) ?? [];
}

/** Each row of the tables: the words of its first cell, and those that stand for something else. */
const entries = [...page.matchAll(/^\| ([^|]+?) +\| ([^|]+?) +\| ([^|]*?) *\|$/gm)]
  .map(([, name = "", meaning = "", not = ""]) => ({
    name,
    meaning,
    not: not.split(", ").filter((word) => word !== ""),
  }))
  .filter(({ name }) => name !== "Word" && !name.startsWith("---"));
const names = entries.flatMap(({ name }) => name.split(", "));
const plain = (page.split("## Plain words\n")[1] ?? "").split("\n\n").slice(1).join(" ").trim().split(/\s+/);

/** Words of keys that a meaning names: `workers` is a list of threads. */
const mapped = entries
  .flatMap(({ meaning }) => [...meaning.matchAll(/`\/?([a-zA-Z]+)`/g)])
  .flatMap(([, key = ""]) => wordsOf(key));

const statusKeys = [...read("src/observe/snapshot.ts").matchAll(/\breadonly (\w+)\??:/g)].map(([, key = ""]) => key);
const keys = [...CONFIG_KEYS.keys(), ...MODULE_KEYS.keys(), ...statusKeys];
const used = [...new Set(keys.flatMap(wordsOf))].sort();

/** "connections" and "accepting" are forms of their words. */
function isFormOf(word: string, base: string): boolean {
  const stem = base.replace(/e$/, "");
  return [
    base,
    ...["s", "es", "ed", "ing"].map((ending) => stem + ending),
    `${base}s`,
    `${base}${base.at(-1)}ing`,
  ].includes(word);
}

test("every word of a key is in the glossary, or plain", () => {
  const known = [...names.flatMap((name) => name.split(" ")), ...mapped, ...plain];
  expect(keys.length).toBeGreaterThan(150);
  expect(used.filter((word) => !known.some((each) => isFormOf(word, each)))).toEqual([]);
});

test("every plain word is in a key, and in no table", () => {
  expect(plain.filter((word) => !used.includes(word))).toEqual([]);
  expect(plain.filter((word) => names.includes(word))).toEqual([]);
  expect(plain).toEqual([...new Set(plain)].sort());
});

test("a word stands in one row, and what it is not to be called is in no key", () => {
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  for (const { name, not } of entries)
    expect([name, not.filter((word) => name.split(", ").includes(word))]).toEqual([name, []]);
  const avoided = new Set(
    entries
      .flatMap(({ not }) => not)
      .filter((word) => !names.includes(word) && !plain.includes(word) && !mapped.includes(word)),
  );
  expect(used.filter((word) => avoided.has(word))).toEqual([]);
});
