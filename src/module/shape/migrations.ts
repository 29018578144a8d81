/** Checks a module's `migrations`: changes of the store's documents, each of which runs once. */
import type { Migration } from "../contract";
import { type Fields, isObject, kindOf, shapeError, shown } from "./errors";

/** A migration with the author's function. Call it through the graph's `run`. */
export interface ShapedMigration {
  readonly name: string;
  readonly run: Migration;
}

const MAX_MIGRATIONS = 1000;
const MAX_NAME_LETTERS = 128;
const EXAMPLE = 'migrations: { "001-scores": async (tx) => { ... } }';

/** @returns in the order in which they are written */
export function readMigrations(name: string, migrations: unknown): ShapedMigration[] {
  if (migrations === undefined) return [];
  if (!isObject(migrations) || Array.isArray(migrations))
    throw shapeError(name, `"migrations" is ${kindOf(migrations)}. Write ${EXAMPLE}`);
  const names = Object.keys(migrations);
  if (names.length > MAX_MIGRATIONS)
    throw shapeError(name, `"migrations" has ${names.length} functions; at most ${MAX_MIGRATIONS} are possible`);
  for (const each of names) mustBeMigration(name, each, migrations);
  // As a method of its definition, since it may use `this`.
  return names.map((each) => ({ name: each, run: (tx) => (migrations as Record<string, Migration>)[each]?.(tx) }));
}

function mustBeMigration(module: string, name: string, migrations: Fields): void {
  // eslint-disable-next-line no-control-regex -- names are printed
  if (name.trim() === "" || name.length > MAX_NAME_LETTERS || !name.isWellFormed() || /[\x00-\x1f\x7f]/.test(name))
    throw shapeError(
      module,
      `migration ${shown(name)} cannot have that name. Take 1 to ${MAX_NAME_LETTERS} letters, such as "001-scores"`,
    );
  if (/^(?:0|[1-9]\d*)$/.test(name))
    throw shapeError(
      module,
      `migration ${shown(name)} is only a number, and JavaScript would put it before all others. Write "001-scores"`,
    );
  const run = migrations[name];
  if (typeof run !== "function")
    throw shapeError(module, `migration ${shown(name)} is ${kindOf(run)}, and must be a function. Write ${EXAMPLE}`);
}
