/** The decision of a server's processes, before any of them swaps. */
import { expect, test } from "bun:test";
import { decide, type ModuleProposal, type Proposal } from "../../../src/reload/vote/agree";

type Said = readonly [outcome: ModuleProposal["outcome"], hash: string | null, error?: string];

const candidate = (hash = "new"): Said => ["candidate", hash];
const unchanged = (hash = "old"): Said => ["unchanged", hash];
const failed = (error: string, hash: string | null = "old"): Said => ["failed", hash, error];
const removed: Said = ["removed", "old"];

/** The decision about one module, from each process's proposal; null: the process does not name it. */
function decided(...said: (Said | null)[]): string | undefined {
  return decide(new Map(said.map((each, at) => [at + 1, proposal(each)]))).refused["greet"];
}

function proposal(said: Said | null): Proposal {
  if (said === null) return { error: null, modules: [] };
  const [outcome, hash, error = null] = said;
  return { error: null, modules: [{ name: "greet", outcome, hash, error }] };
}

const MOVED = "its files changed while it was being loaded; reload again";

test.each<[string, (Said | null)[]]>([
  ["every process has the same version to swap to", [candidate(), candidate(), candidate()]],
  ["there is one process only", [candidate()]],
  ["one process serves it already", [candidate("b"), unchanged("b"), candidate("b")]],
  ["every process is to unload it", [removed, removed]],
  ["one process never had what the others unload", [removed, null]],
  ["nobody changes it", [unchanged(), unchanged()]],
  ["it failed everywhere, where each has a reason of its own", [failed("syntax"), failed("syntax")]],
  ["it failed in the only process", [failed("syntax", null)]],
])("a module is not refused when %s", (_, said) => {
  expect(decided(...said)).toBeUndefined();
});

test.each<[string, (Said | null)[], string]>([
  [
    "one process could not prepare it",
    [candidate(), candidate(), failed("setup failed: no port")],
    "process 3: setup failed: no port",
  ],
  ["two could not, for the same reason", [failed("late"), candidate(), failed("late")], "processes 1, 3: late"],
  ["two could not, for different reasons", [candidate(), failed("late"), failed("syntax")], "process 2: late"],
  ["one could not look at what others leave as it is", [unchanged(), failed("gone", null)], "process 2: gone"],
  ["one could not, and others would unload it", [removed, failed("used")], "process 2: used"],
  ["they have built different versions", [candidate("a"), candidate("b")], MOVED],
  ["one looked before the edit", [candidate("b"), unchanged("a")], MOVED],
  ["one looked before the file came", [candidate(), null], MOVED],
  ["one looked before the file went", [removed, unchanged()], MOVED],
  ["one has it to unload, another to load", [removed, candidate()], MOVED],
  ["one does not have what the others leave as it is", [unchanged(), unchanged(), null], MOVED],
  [
    "one serves something else than the rest, and nobody would change that",
    [unchanged("a"), unchanged("b"), unchanged("a")],
    "process 2 serves another version of it than the rest; restart the server's processes",
  ],
  [
    "two serve something else than the rest",
    [unchanged("b"), unchanged("a"), unchanged("a"), unchanged("a"), unchanged("c")],
    "processes 1, 5 serve another version of it than the rest; restart the server's processes",
  ],
])("a module is refused everywhere when %s", (_, said, reason) => {
  expect(decided(...said)).toBe(reason);
});

test("one module that is refused does not stop another", () => {
  const both = (greet: Said): Proposal => ({
    error: null,
    modules: [...proposal(greet).modules, { name: "ping", outcome: "candidate", hash: "p", error: null }],
  });
  const bySlot = new Map([
    [1, both(candidate())],
    [2, both(failed("syntax"))],
  ]);
  expect(decide(bySlot)).toEqual({ error: null, refused: { greet: "process 2: syntax" } });
});

test("a process that refuses the whole reload refuses it for all", () => {
  const bySlot = new Map<number, Proposal>([
    [1, proposal(candidate())],
    [4, { error: "the modules folder is gone", modules: [] }],
  ]);
  expect(decide(bySlot)).toEqual({ error: "process 4: the modules folder is gone", refused: {} });
});

test("a process without a proposal has no say, and nobody means nothing to refuse", () => {
  const bySlot = new Map([
    [1, proposal(candidate())],
    [3, proposal(candidate())],
  ]);
  expect(decide(bySlot)).toEqual({ error: null, refused: {} });
  expect(decide(new Map())).toEqual({ error: null, refused: {} });
});

test("proposals and what is decided cross processes as they are", () => {
  const bySlot = new Map([
    [1, proposal(candidate())],
    [2, proposal(failed("syntax"))],
  ]);
  expect(structuredClone(decide(structuredClone(bySlot)))).toEqual(decide(bySlot));
});
