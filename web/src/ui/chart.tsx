/** Charts drawn as SVG by hand: stacked bars or lines over time, with a reading line, colours from the theme. */
import { useLayoutEffect, useRef, useState, type RefObject } from "react";

import { cx } from "./base";

export type Line = { name: string; values: (number | null)[] };
const COLOURS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)", "var(--c7)", "var(--c8)"];
export const colour = (index: number) => COLOURS[index % COLOURS.length] as string;

type Props = {
  label: string; ticks: string[]; lines: Line[]; format: (value: number) => string; stacked?: boolean; height?: number; colours?: string[];
  /** Which lines are only expected, not known: drawn dashed. */
  dashed?: number[];
};

/** A round number at or above the largest value, so that the axis reads well. */
function ceiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

/** A box and how wide it is, for a picture that fills it. */
export function useWidth(): [RefObject<HTMLDivElement | null>, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(600);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const watch = new ResizeObserver(() => setWidth(Math.max(220, element.clientWidth)));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

export function Chart({ label, ticks, lines, format, stacked, height = 200, colours = COLOURS, dashed }: Props) {
  const [box, width] = useWidth();
  const [over, setOver] = useState<number | null>(null);

  const sums = ticks.map((_, at) => lines.reduce((sum, line) => sum + (line.values[at] ?? 0), 0));
  const most = stacked ? Math.max(0, ...sums) : Math.max(0, ...lines.flatMap((line) => line.values.map((value) => value ?? 0)));
  const top = ceiling(most);
  // Wide enough for the longest figure of the axis: small amounts of money have many digits.
  const left = Math.max(40, 14 + 7 * Math.max(...[0, 0.5, 1].map((share) => format(top * share).length))), bottom = 24, head = 10;
  const inner = { width: width - left - 8, height: height - bottom - head };
  const step = inner.width / Math.max(1, ticks.length);
  const x = (at: number) => left + step * (at + 0.5);
  const y = (value: number) => head + inner.height * (1 - value / top);
  const every = Math.max(1, Math.ceil(ticks.length / Math.max(2, Math.floor(inner.width / 110))));
  const total = lines.map((line) => line.values.reduce<number>((sum, value) => sum + (value ?? 0), 0));

  return (
    <div ref={box} className="relative min-w-0">
      <svg
        role="img"
        aria-label={`${label}: ${stacked ? lines.map((line, at) => `${line.name} ${format(total[at] ?? 0)}`).join(", ") : lines.map((line) => line.name).join(", ")}`}
        width={width}
        height={height}
        className="block max-w-full"
        onPointerMove={(event) => {
          const at = Math.floor((event.clientX - event.currentTarget.getBoundingClientRect().left - left) / step);
          setOver(at >= 0 && at < ticks.length ? at : null);
        }}
        onPointerLeave={() => setOver(null)}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line x1={left} x2={width - 8} y1={y(top * share)} y2={y(top * share)} stroke="var(--line)" />
            <text x={left - 8} y={y(top * share) + 4} textAnchor="end" fontSize="11" fill="var(--muted)">{format(top * share)}</text>
          </g>
        ))}
        {ticks.map((tick, at) => at % every === 0 && (
          <text key={at} x={x(at)} y={height - 6} textAnchor="middle" fontSize="11" fill="var(--muted)">{tick}</text>
        ))}
        {over !== null && <rect x={left + step * over} y={head} width={step} height={inner.height} fill="var(--raised)" />}
        {stacked
          ? ticks.map((_, at) => {
              let base = 0;
              return lines.map((line, index) => {
                const value = line.values[at] ?? 0;
                if (value <= 0) return null;
                const from = y(base + value), to = y(base);
                base += value;
                return <rect key={`${at} ${index}`} x={x(at) - Math.min(18, step * 0.36)} width={Math.min(36, step * 0.72)} y={from} height={Math.max(1, to - from)} fill={colours[index % colours.length]} rx={1.5} />;
              });
            })
          : lines.map((line, index) => {
              const points = line.values.map((value, at) => (value === null ? null : ([x(at), y(value)] as const))).filter((point) => point !== null);
              return (
                <g key={line.name}>
                  <polyline fill="none" stroke={colours[index % colours.length]} strokeWidth={2} strokeLinejoin="round" strokeDasharray={dashed?.includes(index) ? "5 5" : undefined} points={points.map((point) => point.join(",")).join(" ")} />
                  {points.length <= 40 && points.map(([px, py]) => <circle key={px} cx={px} cy={py} r={2.5} fill={colours[index % colours.length]} />)}
                </g>
              );
            })}
      </svg>
      {over !== null && (
        <div className={cx("pointer-events-none absolute top-0 z-10 max-w-60 rounded-lg border border-line bg-panel px-3 py-2 text-sm shadow-lg", over > ticks.length / 2 ? "left-16" : "right-2")}>
          <div className="mb-1 font-medium">{ticks[over]}</div>
          {lines.map((line, index) => (
            <div key={line.name} className="flex items-center justify-between gap-4">
              <span className="flex min-w-0 items-center gap-1.5"><Dot colour={colours[index % colours.length] as string} /><span className="truncate">{line.name}</span></span>
              <span className="nums">{line.values[over] == null ? "–" : format(line.values[over] as number)}</span>
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

export const Dot = ({ colour: fill }: { colour: string }) => (
  <svg width="10" height="10" aria-hidden className="shrink-0"><rect width="10" height="10" rx="3" fill={fill} /></svg>
);

export function Legend({ lines }: { lines: { name: string }[] }) {
  return (
    <ul className="flex flex-wrap gap-x-4 gap-y-1 px-4 pb-3 text-sm text-muted">
      {lines.map((line, index) => <li key={line.name} className="flex min-w-0 items-center gap-1.5"><Dot colour={colour(index)} /><span className="max-w-56 truncate">{line.name}</span></li>)}
    </ul>
  );
}
