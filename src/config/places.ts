/** Where the modules' settings come from, for messages: "hrmr.json:12:5", "--set", "HRMR_MODULES_MAIL_PORT". */
import { formatPath, type KeyPath } from "./key-path";
import { isGroup } from "./quoted";

/** By `formatPath` of a key in the configuration: `modules.mail.hosts[0]`. */
export type Places = Readonly<Record<string, string>>;

/** @param placeAt of a path that begins with "modules" */
export function placesOf(modules: Readonly<Record<string, unknown>>, placeAt: (path: KeyPath) => string): Places {
  const places: Record<string, string> = {};
  const walk = (value: unknown, path: KeyPath): void => {
    places[formatPath(path)] = placeAt(path);
    if (Array.isArray(value)) for (const [at, item] of value.entries()) walk(item, [...path, at]);
    else if (isGroup(value)) for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key]);
  };
  for (const [name, settings] of Object.entries(modules)) walk(settings, ["modules", name]);
  return places;
}

/** Those of one module. */
export function placesIn(places: Places, module: string): Places {
  const own = `modules.${module}`;
  return Object.fromEntries(Object.entries(places).filter(([path]) => path === own || path.startsWith(`${own}.`)));
}

/**
 * @returns the place of the setting, or of the innermost known thing around it; "hrmr.json" if none is known: it belongs
 *   there
 */
export function placeOf(places: Places, path: KeyPath): string {
  for (let length = path.length; length > 0; length--) {
    const place = places[formatPath(path.slice(0, length))];
    if (place !== undefined) return place;
  }
  return "hrmr.json";
}

/** "hrmr.json:12:5" in its parts. */
export function readPlace(place: string): { file: string; line: number | undefined; column: number | undefined } {
  const [, file = place, line, column] = /^(.*?):(\d+):(\d+)$/.exec(place) ?? [];
  return { file, line: numberOf(line), column: numberOf(column) };
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}
