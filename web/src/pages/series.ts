/** From the server's sparse buckets to the dense lines of a chart. */
import type { Point } from "../lib/types";
import type { Line } from "../ui/chart";

/** The beginnings of all buckets in [since, until); the server leaves out empty ones. */
export function spread(since: number, until: number, size: number): number[] {
  const first = Math.floor(since / size) * size;
  return Array.from({ length: Math.max(0, Math.min(2000, Math.ceil((until - first) / size))) }, (_, index) => first + index * size);
}

/** One line per group, the largest first; from the eighth on they are one. */
export function stack(points: Point[], ticks: number[], pick: (point: Point) => number, others: string, names: Map<string, string> = new Map()): Line[] {
  const at = new Map(ticks.map((tick, index) => [tick, index]));
  const groups = new Map<string, number[]>();
  for (const point of points) {
    const index = at.get(point.starts_at);
    if (index === undefined) continue;
    const key = point.group ?? "";
    const values = groups.get(key) ?? Array<number>(ticks.length).fill(0);
    values[index] = (values[index] ?? 0) + pick(point);
    groups.set(key, values);
  }
  const total = (values: number[]) => values.reduce((sum, value) => sum + value, 0);
  const sorted = [...groups].sort((left, right) => total(right[1]) - total(left[1]));
  const lines: Line[] = sorted.slice(0, 7).map(([key, values]) => ({ name: names.get(key) ?? (key || "–"), values }));
  if (sorted.length > 7) lines.push({ name: others, values: ticks.map((_, index) => sorted.slice(7).reduce((sum, [, values]) => sum + (values[index] ?? 0), 0)) });
  return lines;
}
