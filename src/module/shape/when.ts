/** When a task is due: a cron line, or an interval such as `every 10s`. Pure, apart from the system's time zone. */

/** Times at which a task is due. */
export interface When {
  /**
   * @param afterMs milliseconds since 1970
   * @returns the first due time behind it; null: there is none within 8 years
   */
  next(afterMs: number): number | null;
}

const INTERVAL = /^every\s+(\d+(?:\.\d+)?)\s*([a-z]*)$/i;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MIN_INTERVAL_MS = 1000;
const MAX_INTERVAL_MS = 366 * 86_400_000;
const INTERVALS = 'Write "every 10s", "every 5m", "every 2h" or "every 1d"';
const CRON = '"*/5 * * * *" is every 5 minutes, "0 9 * * MON-FRI" is at 9:00 on working days';

/** The text is not a time. The message ends a sentence that begins with the text. */
export class WhenError extends Error {}

/** Whether the text is meant as a time, valid or not, and not as a name. */
export function looksLikeWhen(text: string): boolean {
  return text.startsWith("@") || isInterval(text) || text.trim().split(/\s+/).length >= 5;
}

/** Whether the text is meant as an interval, valid or not. Intervals have no time zone. */
export function isInterval(text: string): boolean {
  return /^every\b/i.test(text.trim());
}

/**
 * @param text     "every 10s", five fields of cron, or a nickname such as "@daily"
 * @param timeZone an IANA name, for cron lines. null: the system's
 * @throws WhenError for an invalid text, a time that never comes, and an unknown time zone
 */
export function parseWhen(text: string, timeZone: string | null): When {
  if (isInterval(text)) return parseInterval(text.trim());
  const options = timeZone === null ? {} : { tz: timeZone };
  const next = (afterMs: number): number | null => Bun.cron.parse(text, afterMs, options)?.getTime() ?? null;
  let first: number | null;
  try {
    first = next(Date.now());
  } catch (cause) {
    throw new WhenError(cronProblem(text, (cause as Error).message), { cause });
  }
  if (first === null) throw new WhenError(`never comes: no such day is in the next 8 years. ${CRON}`);
  return { next };
}

/** @throws WhenError for a name that the system does not know */
export function checkTimeZone(timeZone: string): void {
  try {
    Bun.cron.parse("@daily", Date.now(), { tz: timeZone });
  } catch (cause) {
    throw new WhenError('is no time zone. Write an IANA name, such as "Europe/Berlin" or "UTC"', { cause });
  }
}

/** Due at whole multiples of the interval since 1970: so a reload, or another process, goes on in step. */
function parseInterval(text: string): When {
  const [, count = "", unit = ""] = INTERVAL.exec(text) ?? [];
  const ms = Number(count) * (UNITS[unit.toLowerCase()] ?? Number.NaN);
  if (count === "" || Number.isNaN(ms)) throw new WhenError(`is no interval. ${INTERVALS}`);
  if (ms < MIN_INTERVAL_MS) throw new WhenError('is too often: the least is "every 1s"');
  if (ms > MAX_INTERVAL_MS) throw new WhenError('is too seldom: the most is "every 366d"');
  if (!Number.isSafeInteger(ms)) throw new WhenError(`is not a whole number of milliseconds. ${INTERVALS}`);
  return { next: (afterMs) => (Math.floor(afterMs / ms) + 1) * ms };
}

function cronProblem(text: string, message: string): string {
  if (text.trim() === "@reboot") return 'is no time. For work at the start, write a "start" in the module';
  if (message.includes("too many fields"))
    return 'has more than the five fields of cron (minute hour day month weekday). For seconds, write "every 10s"';
  const problem = message.replace(/^(?:Invalid cron expression|Bun\.cron): /, "").replace(/\.$/, "");
  return `is not a cron line: ${problem}. ${CRON}. ${INTERVALS} for intervals`;
}
