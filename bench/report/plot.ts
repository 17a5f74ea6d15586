// The throughput as a picture: an SVG without a browser.
import { BarChart, CustomChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { CORE, type Operation, type Throughput } from "../sections/throughput.ts";
import type { Results } from "./results.ts";

use([BarChart, CustomChart, LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const WIDTH = 1_100;
const PANEL = 420;
const LEGEND = 90;

/** One for each system: the library's own nine would repeat. */
const COLORS = [
  "#2563eb",
  "#dc2626",
  "#16a34a",
  "#9333ea",
  "#ea580c",
  "#0891b2",
  "#a16207",
  "#db2777",
  "#4b5563",
  "#65a30d",
  "#7c2d12",
  "#1e1b4b",
];

/** Two panels of bars with ranges; below them, when they were measured, batch sizes and connections. */
export function plot({ throughput, surroundings }: Results): string {
  const panels = [
    bars(throughput, "produce"),
    bars(throughput, "consume"),
    lines(throughput, "produce", "batch"),
    lines(throughput, "consume", "batch"),
    lines(throughput, "produce", "connections"),
    lines(throughput, "consume", "connections"),
  ].filter((panel) => panel !== undefined);
  const height = 60 + Math.ceil(panels.length / 2) * PANEL + (panels.some((panel) => !isBars(panel)) ? LEGEND : 0);
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  chart.setOption(layOut(panels, `Weir ${surroundings.commit ?? ""}, ${surroundings.machine ?? ""}`));
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

interface Panel {
  title: string;
  xAxis: Record<string, unknown>;
  yAxis: Record<string, unknown>;
  series: Record<string, unknown>[];
}

function isBars({ yAxis }: Panel): boolean {
  return yAxis.type === "category";
}

function layOut(panels: readonly Panel[], title: string): EChartsCoreOption {
  const left = (i: number) => (i % 2 === 0 ? 0 : WIDTH / 2);
  const top = (i: number) => 60 + Math.floor(i / 2) * PANEL;
  return {
    animation: false,
    backgroundColor: "#fff",
    color: COLORS,
    title: [
      { text: title, left: 10, top: 8, textStyle: { fontSize: 13, fontWeight: "normal" } },
      ...panels.map((panel, i) => ({
        text: panel.title,
        left: left(i) + 10,
        top: top(i),
        textStyle: { fontSize: 14 },
      })),
    ],
    legend: panels.some((panel) => !isBars(panel))
      ? { bottom: 8, left: 20, type: "plain", itemGap: 24, itemWidth: 40 }
      : { show: false },
    grid: panels.map((panel, i) => ({
      left: left(i) + (isBars(panel) ? 215 : 75),
      top: top(i) + 40,
      width: WIDTH / 2 - (isBars(panel) ? 290 : 110),
      height: PANEL - 110,
    })),
    xAxis: panels.map(({ xAxis }, gridIndex) => ({ ...xAxis, gridIndex })),
    yAxis: panels.map(({ yAxis }, gridIndex) => ({ ...yAxis, gridIndex })),
    series: panels.flatMap(({ series }, i) => series.map((each) => ({ ...each, xAxisIndex: i, yAxisIndex: i }))),
  };
}

const inThousands = (value: number) => (value >= 1_000 ? `${Math.round(value / 1_000)}k` : String(Math.round(value)));
const named = (operation: Operation) => (operation === "produce" ? "Produce" : "Consume and acknowledge");

/** What was measured in the shape that the aims are about. */
function bars(throughput: readonly Throughput[], operation: Operation): Panel | undefined {
  const rows = throughput
    .filter((row) => row.operation === operation && isCore(row))
    .sort((a, b) => a.messagesPerSecond.median - b.messagesPerSecond.median);
  if (rows.length === 0) return undefined;
  return {
    title: `${named(operation)}: messages/s, ${CORE.batch} x ${CORE.connections}, ${CORE.payload}`,
    xAxis: { type: "value", axisLabel: { formatter: inThousands } },
    yAxis: { type: "category", data: rows.map(({ system }) => system) },
    series: [
      {
        type: "bar",
        barWidth: "60%",
        data: rows.map(({ system, messagesPerSecond: { median } }) => ({
          value: median,
          itemStyle: { color: system.startsWith("Weir") ? "#2563eb" : "#9ca3af" },
          // Beside the range's end, which is drawn over the bar.
          label: { show: true, position: "right", distance: 6, formatter: inThousands(median) },
        })),
      },
      {
        type: "custom",
        z: 3,
        encode: { x: [1, 2], y: 0 },
        data: rows.map(({ messagesPerSecond: { least, most } }, i) => [i, least, most]),
        renderItem: drawRange,
      },
    ],
  };
}

interface RenderApi {
  value(dimension: number): number;
  coord(point: readonly number[]): number[];
}

/** A line from the least to the most of the rounds, with ends. */
function drawRange(_: unknown, api: RenderApi) {
  const [x1 = 0, y = 0] = api.coord([api.value(1), api.value(0)]);
  const [x2 = 0] = api.coord([api.value(2), api.value(0)]);
  const line = (shape: { x1: number; y1: number; x2: number; y2: number }) => {
    return { type: "line", shape, style: { stroke: "#111827", lineWidth: 1.2 } };
  };
  return {
    type: "group",
    children: [
      line({ x1, y1: y + 9, x2, y2: y + 9 }),
      line({ x1, y1: y + 6, x2: x1, y2: y + 12 }),
      line({ x1: x2, y1: y + 6, x2, y2: y + 12 }),
    ],
  };
}

/** How it changes with the size of the batch or the number of connections, the other as the aims have it. */
function lines(
  throughput: readonly Throughput[],
  operation: Operation,
  by: "batch" | "connections",
): Panel | undefined {
  const other = by === "batch" ? "connections" : "batch";
  const rows = throughput.filter(
    ({ operation: each, shape }) =>
      each === operation && shape.payload === CORE.payload && shape[other] === CORE[other],
  );
  const values = [...new Set(rows.map(({ shape }) => shape[by]))].sort((a, b) => a - b);
  if (values.length < 3) return undefined;
  const bySystem = [...Map.groupBy(rows, ({ system }) => system)].filter(([, own]) => own.length > 1);
  return {
    title: `${named(operation)}: messages/s by ${by === "batch" ? "size of batch" : "connections"}`,
    xAxis: { type: "category", data: values.map(String) },
    yAxis: { type: "log", axisLabel: { formatter: inThousands } },
    series: bySystem.map(([name, own]) => ({
      type: "line",
      name,
      lineStyle: name.startsWith("Weir") ? { width: 3 } : { width: 1.5, type: "dashed" },
      data: values.map((value) => own.find(({ shape }) => shape[by] === value)?.messagesPerSecond.median ?? "-"),
    })),
  };
}

function isCore({ shape }: Throughput): boolean {
  return shape.batch === CORE.batch && shape.connections === CORE.connections && shape.payload === CORE.payload;
}
