/**
 * Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
 */

type Labels = Readonly<Record<string, string | number>>;
type MetricType = "counter" | "gauge" | "histogram" | "summary";

/** The Content-Type of the text. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Collects metrics: `begin` each once, then add its samples. */
export class Exposition {
  readonly #lines: string[] = [];

  /** The samples up to the next `begin` belong to this metric. */
  begin(name: string, type: MetricType, help: string): void {
    this.#lines.push(`# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`, `# TYPE ${name} ${type}`);
  }

  /** @param name the metric's name, or that with _bucket, _sum or _count behind it */
  sample(name: string, labels: Labels, value: number): void {
    this.#lines.push(`${name}${formatLabels(labels)} ${formatNumber(value)}`);
  }

  /** A metric of one sample. */
  single(name: string, type: MetricType, help: string, value: number, labels: Labels = {}): void {
    this.begin(name, type, help);
    this.sample(name, labels, value);
  }

  get text(): string {
    return this.#lines.map((line) => `${line}\n`).join("");
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
