/** COMMAND and its kin: which commands there are. */
import type { Call, CommandSpec } from "../call";
import { fail } from "../errors";
import { globMatcher } from "../glob";
import type { Writer } from "../writer";
import { fits, subcommands } from "./subcommands";

/** @param table all commands by name, this one included: asked when it runs */
export function introspection(table: () => ReadonlyMap<string, CommandSpec>): CommandSpec {
  const all = (): CommandSpec[] => [...table().values()];
  const named = ({ args }: Call, from: number): (CommandSpec | undefined)[] =>
    Array.from({ length: args.length - from }, (_, at) => table().get(args.latin1(from + at).toLowerCase()));

  const sub = subcommands("command", {
    count: [2, ({ out }) => out.integer(table().size)],
    info: [-2, (call) => tellInfos(call.out, call.args.length === 2 ? all() : named(call, 2))],
    docs: [-2, (call) => tellDocs(call.out, call.args.length === 2 ? all() : named(call, 2))],
    list: [-2, (call) => tellNames(call, all())],
    getkeys: [-3, (call) => tellKeys(call, table())],
  });
  return {
    name: "command",
    arity: -1,
    use: "nothing",
    keys: [0, 0, 0],
    group: "server",
    since: "2.8.13",
    summary: "Tells which commands there are.",
    run: (call) => (call.args.length === 1 ? tellInfos(call.out, all()) : sub(call)),
  };
}

function tellInfos(out: Writer, specs: readonly (CommandSpec | undefined)[]): void {
  out.array(specs.length);
  for (const spec of specs) {
    if (spec === undefined) {
      out.nullArray();
      continue;
    }
    const { name, arity, use, keys, group } = spec;
    out.array(10);
    out.bulk(name);
    out.integer(arity);
    out.set(1);
    out.simple(use === "write" ? "write" : use === "read" ? "readonly" : "fast");
    for (const place of keys) out.integer(place);
    out.set(1);
    out.simple(`@${group.replace("-", "")}`);
    // Hints, key specifications and subcommands.
    for (let empty = 0; empty < 3; empty++) out.array(0);
  }
}

function tellDocs(out: Writer, specs: readonly (CommandSpec | undefined)[]): void {
  const known = specs.filter((spec) => spec !== undefined);
  out.map(known.length);
  for (const { name, summary, since, group } of known) {
    out.bulk(name);
    out.map(3);
    for (const text of ["summary", summary, "since", since, "group", group]) out.bulk(text);
  }
}

function tellNames({ args, out }: Call, specs: readonly CommandSpec[]): void {
  const isFiltered = args.length === 5 && `${args.latin1(2)} ${args.latin1(3)}`.toUpperCase() === "FILTERBY PATTERN";
  if (args.length > 2 && !isFiltered) fail("ERR syntax error");
  const matches = isFiltered ? globMatcher(args.utf8(4).toLowerCase()) : () => true;
  const names = specs.map(({ name }) => name).filter(matches);
  out.array(names.length);
  for (const name of names) out.bulk(name);
}

function tellKeys({ args, out }: Call, table: ReadonlyMap<string, CommandSpec>): void {
  const spec = table.get(args.latin1(2).toLowerCase()) ?? fail("ERR Invalid command specified");
  if (!fits(args.length - 2, spec.arity)) fail("ERR Invalid number of arguments specified for command");
  const [first, last, step] = spec.keys;
  if (first === 0) fail("ERR The command has no key arguments");
  const end = last < 0 ? args.length + last : 2 + last;
  const places: number[] = [];
  for (let at = 2 + first; at <= end; at += step) places.push(at);
  out.array(places.length);
  for (const at of places) out.bulk(args.utf8(at));
}
