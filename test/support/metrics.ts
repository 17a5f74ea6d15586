import parsePrometheusTextFormat, { type MetricFamily } from "parse-prometheus-text-format";

/** The form of every line (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). */
const LINE =
  /^(?:# HELP [a-z_]+ \S.*|# TYPE [a-z_]+ gauge|[a-z_]+(?:\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})? -?\d+(?:\.\d+)?(?:e[+-]\d+)?)$/;

/**
 * Metrics by name, as a Prometheus parser reads them. The parser is lenient, so what Prometheus itself would refuse is
 * refused here: a line of another form, a metric in two places, two samples with the same labels.
 */
export function parseMetrics(text: string): Map<string, MetricFamily> {
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error("the last line does not end");
  const wrong = lines.find((line) => !LINE.test(line));
  if (wrong !== undefined) throw new Error(`not a line of the text format: ${wrong}`);
  const families = parsePrometheusTextFormat(text);
  const byName = new Map(families.map((family) => [family.name, family]));
  if (byName.size !== families.length) throw new Error("a metric's samples do not stand together");
  for (const { name, metrics } of families) {
    const labels = new Set(metrics.map((sample) => JSON.stringify(sample.labels)));
    if (labels.size !== metrics.length) throw new Error(`two samples of ${name} have the same labels`);
  }
  return byName;
}

/** The value of the sample with exactly these labels; undefined when there is none. */
export function sample(
  families: ReadonlyMap<string, MetricFamily>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const found = families
    .get(name)
    ?.metrics.find(
      ({ labels: got = {} }) =>
        Object.keys(got).length === Object.keys(labels).length &&
        Object.entries(labels).every(([label, value]) => got[label] === value),
    );
  return found === undefined ? undefined : Number(found.value);
}
