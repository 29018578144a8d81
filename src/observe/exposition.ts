/**
 * Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
 */

type Labels = Readonly<Record<string, string | number>>;

/** The Content-Type of the text. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A value, with the labels that tell it from the metric's others. */
export type Sample = readonly [labels: Labels, value: number];

/** Collects metrics: each once, with all of its samples. */
export class Exposition {
  readonly #lines: string[] = [];

  counter(name: string, help: string, samples: number | Iterable<Sample>): void {
    this.#write(name, "counter", help, samples);
  }

  gauge(name: string, help: string, samples: number | Iterable<Sample>): void {
    this.#write(name, "gauge", help, samples);
  }

  /** Its samples follow, by `sample`. */
  begin(name: string, type: "histogram" | "summary", help: string): void {
    this.#write(name, type, help, []);
  }

  /** @param name the metric's name, or that with _bucket, _sum or _count behind it */
  sample(name: string, labels: Labels, value: number): void {
    this.#lines.push(`${name}${formatLabels(labels)} ${formatNumber(value)}`);
  }

  get text(): string {
    return this.#lines.map((line) => `${line}\n`).join("");
  }

  #write(name: string, type: string, help: string, samples: number | Iterable<Sample>): void {
    this.#lines.push(`# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`, `# TYPE ${name} ${type}`);
    const all: Iterable<Sample> = typeof samples === "number" ? [[{}, samples]] : samples;
    for (const [labels, value] of all) this.sample(name, labels, value);
  }
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(String(value))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeValue(value: string): string {
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}

function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  return Number.isFinite(value) ? String(value) : value > 0 ? "+Inf" : "-Inf";
}
