/** A strict reader of Prometheus' text format 0.0.4: Prometheus accepts every text that it accepts. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (NaN|[+-]Inf|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/;
const SUFFIXES: Record<string, string[]> = {
  counter: [""],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["_sum", "_count"],
};

/**
 * @throws for anything that is not in order: a sample without its metric, a series twice, buckets that fall, a counter
 * without _total
 */
export function readExposition(text: string): Map<string, Metric> {
  if (!text.endsWith("\n")) throw new Error("The last line has no end.");
  const metrics = new Map<string, { type: string; help: string; samples: Sample[] }>();
  const seen = new Set<string>();
  let name = "";
  let help: string | null = null;
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment !== null) {
      const [, word, about = "", rest = ""] = comment;
      if (!NAME.test(about) || metrics.has(about)) throw new Error(`wrong or twice: ${line}`);
      if (word === "HELP") [name, help] = [about, rest];
      else {
        if (about !== name || help === null || SUFFIXES[rest] === undefined)
          throw new Error(`TYPE without its HELP, or unknown: ${line}`);
        metrics.set(name, { type: rest, help, samples: [] });
        help = null;
      }
      continue;
    }
    const sample = readSample(line);
    const metric = metrics.get(name);
    const suffix = sample.name.slice(name.length);
    if (metric === undefined || !sample.name.startsWith(name) || !SUFFIXES[metric.type]?.includes(suffix))
      throw new Error(`stray: ${line}`);
    const series = `${sample.name} ${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(series)) throw new Error(`twice: ${line}`);
    seen.add(series);
    metric.samples.push(sample);
  }
  for (const [each, metric] of metrics) check(each, metric);
  return metrics;
}

function readSample(line: string): Sample {
  const [, name = "", inner = "", value = ""] = SAMPLE.exec(line) ?? [];
  if (name === "") throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  for (let rest = inner; rest !== "";) {
    const found = LABEL.exec(rest);
    if (found === null) throw new Error(`no labels: ${line}`);
    const [whole, label = "", quoted = ""] = found;
    if (label in labels) throw new Error(`a label twice: ${line}`);
    labels[label] = quoted.replace(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char));
    rest = rest.slice(whole.length);
  }
  return { name, labels, value: value === "+Inf" ? Infinity : value === "-Inf" ? -Infinity : Number(value) };
}

function check(name: string, { type, samples }: Metric): void {
  if (type === "counter" && !name.endsWith("_total")) throw new Error(`the counter ${name} does not end with _total`);
  if (type === "counter" && samples.some(({ value }) => !(value >= 0)))
    throw new Error(`the counter ${name} is no count`);
  if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const keyOf = ({ labels }: Sample): string =>
    JSON.stringify(Object.entries(labels).filter(([label]) => label !== "le"));
  for (const [key, group] of Map.groupBy(samples, keyOf)) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => (labels["le"] === "+Inf" ? Infinity : Number(labels["le"])));
    const counts = buckets.map(({ value }) => value);
    const isRising = (numbers: number[], mayStay: boolean): boolean =>
      numbers.every(
        (each, at) => at === 0 || each > (numbers[at - 1] as number) || (mayStay && each === numbers[at - 1]),
      );
    const count = group.find((sample) => sample.name === `${name}_count`)?.value;
    if (!isRising(bounds, false) || bounds.at(-1) !== Infinity)
      throw new Error(`${name}${key}: the bounds do not rise to +Inf`);
    if (!isRising(counts, true) || counts.at(-1) !== count)
      throw new Error(`${name}${key}: the buckets fall, or are not the count`);
    if (group.filter((sample) => sample.name === `${name}_sum`).length !== 1) throw new Error(`${name}${key}: no sum`);
  }
}
