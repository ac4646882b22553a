/** A heat map drawn as SVG: time across, size upwards, the deeper a cell the more fell into it. */
import { useState } from "react";

import { useWidth } from "./chart";

type Props = {
  label: string;
  ticks: string[];
  /** From below to above: what each row stands for. */
  rows: string[];
  /** By tick, then by row. */
  cells: number[][];
  format: (value: number) => string;
  height?: number;
};

export function Heat({ label, ticks, rows, cells, format, height = 200 }: Props) {
  const [box, width] = useWidth();
  const [over, setOver] = useState<{ x: number; y: number } | null>(null);
  const most = Math.max(1, ...cells.flat());
  const left = 14 + 7 * Math.max(...rows.map((row) => row.length), 3), bottom = 24, head = 6;
  const inner = { width: width - left - 8, height: height - bottom - head };
  const step = { x: inner.width / Math.max(1, ticks.length), y: inner.height / Math.max(1, rows.length) };
  const every = { x: Math.max(1, Math.ceil(ticks.length / Math.max(2, Math.floor(inner.width / 110)))), y: Math.max(1, Math.ceil((rows.length * 16) / inner.height)) };
  const y = (row: number) => head + inner.height - step.y * (row + 1);
  const value = over && (cells[over.x]?.[over.y] ?? 0);
  return (
    <div ref={box} className="relative min-w-0">
      <svg role="img" aria-label={label} width={width} height={height} className="block max-w-full"
        onPointerMove={(event) => {
          const at = event.currentTarget.getBoundingClientRect();
          const x = Math.floor((event.clientX - at.left - left) / step.x), row = Math.floor((head + inner.height - (event.clientY - at.top)) / step.y);
          setOver(x >= 0 && x < ticks.length && row >= 0 && row < rows.length ? { x, y: row } : null);
        }}
        onPointerLeave={() => setOver(null)}
      >
        <rect x={left} y={head} width={inner.width} height={inner.height} fill="var(--raised)" rx={4} />
        {cells.map((column, x) => column.map((held, row) => held > 0 && (
          // The root keeps the few slow answers visible beside the many fast ones: they are what one looks for.
          <rect key={`${x} ${row}`} data-testid="heat-cell" x={left + step.x * x + 0.5} y={y(row) + 0.5} width={Math.max(1, step.x - 1)} height={Math.max(1, step.y - 1)} rx={1.5} fill="var(--c1)" fillOpacity={0.15 + 0.85 * Math.sqrt(held / most)} />
        )))}
        {over && <rect x={left + step.x * over.x} y={y(over.y)} width={step.x} height={step.y} fill="none" stroke="var(--ink)" />}
        {rows.map((row, at) => at % every.y === 0 && <text key={at} x={left - 8} y={y(at) + step.y / 2 + 4} textAnchor="end" fontSize="11" fill="var(--muted)">{row}</text>)}
        {ticks.map((tick, at) => at % every.x === 0 && <text key={at} x={left + step.x * (at + 0.5)} y={height - 6} textAnchor="middle" fontSize="11" fill="var(--muted)">{tick}</text>)}
      </svg>
      {over && (
        <div className="pointer-events-none absolute top-0 right-2 z-10 rounded-lg border border-line bg-panel px-3 py-2 text-sm shadow-lg">
          <div className="font-medium">{ticks[over.x]}</div>
          <div>{rows[over.y]}: <span className="nums">{format(value ?? 0)}</span></div>
        </div>
      )}
    </div>
  );
}
