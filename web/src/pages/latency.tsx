/** How long whole answers took: percentiles over time, or every answer as a heat map. Read from kept counts. */
import { useMemo, useState } from "react";

import { useRead } from "../lib/data";
import { bucket, count, HOUR, ms } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Latency, Provider, Spread } from "../lib/types";
import { Card, Empty, Segmented, Skeleton, Trouble } from "../ui/base";
import { Chart, Legend } from "../ui/chart";
import { Heat } from "../ui/heat";
import { spread } from "./series";

type Look = "lines" | "heat";
type Measure = "first_byte" | "total";
const TALL = 2; // buckets to a row of the heat map: an octave
const MOST_COLUMNS = 60;

type Props = { since: number; until: number; period: "hour" | "day"; every?: number; providers: Provider[] };

export function LatencyCard({ since, until, period, every, providers }: Props) {
  const { t } = usePrefs();
  const [look, setLook] = useState<Look>("lines");
  const [measure, setMeasure] = useState<Measure>("total");
  const [provider, setProvider] = useState("");
  const found = useRead<Latency>("/admin/dashboard/latency", { since, until, period, provider_name: provider }, { every });
  const made = useMemo(() => found.data && drawn(found.data, since, until, measure), [found.data, since, until, measure]);
  const whole = found.data;
  const lines = whole ? ([["first_byte", "p50"], ["first_byte", "p95"], ["total", "p50"], ["total", "p95"]] as const).map(([what, share]) => ({
    name: t(`latency.${what}.${share}`), figure: ms(whole[what][share]), values: made?.columns.map((points) => middle(points.map((point) => point?.[what][share] ?? null))) ?? [],
  })) : [];
  return (
    <Card title={t("latency.title")} className="lg:col-span-2" action={
      <span className="flex flex-wrap items-center gap-2">
        <select aria-label={t("word.provider")} className="field w-auto text-sm" value={provider} onChange={(event) => setProvider(event.target.value)}><option value="">{t("latency.everywhere")}</option>{providers.map((each) => <option key={each.id}>{each.name}</option>)}</select>
        {look === "heat" && <Segmented label={t("word.measure")} value={measure} onChange={setMeasure} options={(["first_byte", "total"] as const).map((value) => ({ value, label: t(`latency.${value}`) }))} />}
        <Segmented label={t("latency.look")} value={look} onChange={setLook} options={(["lines", "heat"] as const).map((value) => ({ value, label: t(`latency.${value}`) }))} />
      </span>
    }>
      {found.error ? <Trouble error={found.error} retry={() => void found.refetch()} /> : !whole || !made ? <Skeleton /> : whole.total.count === 0 ? <Empty title={t("overview.nothing")} text={t("latency.empty")} /> : look === "lines" ? (
        <div className="p-3">
          <Chart label={t("latency.title")} ticks={made.ticks} lines={lines} format={(value) => ms(value)} height={180} />
          <Legend lines={lines.map((line) => ({ name: `${line.name} ${line.figure}` }))} />
        </div>
      ) : (
        <div className="p-3">
          <Heat label={`${t("latency.heat.of", { what: t(`latency.${measure}`), n: count(whole[measure].count) })}: p50 ${ms(whole[measure].p50)}, p90 ${ms(whole[measure].p90)}, p99 ${ms(whole[measure].p99)}`}
            ticks={made.ticks} rows={made.rows} cells={made.cells} format={(value) => t("latency.answers", { n: count(value) })} height={210} />
          <p className="nums px-1 pt-2 text-sm text-muted">p50 {ms(whole[measure].p50)} · p90 {ms(whole[measure].p90)} · p95 {ms(whole[measure].p95)} · p99 {ms(whole[measure].p99)} · {t("latency.answers", { n: count(whole[measure].count) })}</p>
        </div>
      )}
    </Card>
  );
}

const middle = (values: (number | null)[]) => {
  const known = values.filter((value) => value !== null);
  return known.length ? Math.round(known.reduce((sum, value) => sum + value, 0) / known.length) : null;
};

/** The server's sparse counts as columns and rows of a picture; neighbouring hours share a column when there are many. */
function drawn(data: Latency, since: number, until: number, measure: Measure) {
  const size = data.bucket_us;
  const moments = spread(since, until, size);
  const known = new Map(data.points.map((point) => [point.starts_at, point]));
  const wide = Math.max(1, Math.ceil(moments.length / MOST_COLUMNS));
  const columns = Array.from({ length: Math.ceil(moments.length / wide) }, (_, at) => moments.slice(at * wide, (at + 1) * wide).map((moment) => known.get(moment)));
  const used = data[measure].counts.map(([number]) => Math.floor(number / TALL));
  const low = Math.min(...used, Infinity), high = Math.max(...used, -Infinity);
  const rows = used.length ? Array.from({ length: high - low + 1 }, (_, at) => upTo(data.bounds_ms, (low + at + 1) * TALL - 1)) : [];
  const sum = (spreads: Spread[], row: number) => spreads.reduce((all, each) => all + each.counts.reduce((held, [number, n]) => held + (Math.floor(number / TALL) - low === row ? n : 0), 0), 0);
  return {
    ticks: columns.map((_, at) => bucket(moments[at * wide] as number, size === HOUR ? "hour" : "day")),
    columns,
    rows,
    cells: columns.map((points) => { const spreads = points.flatMap((point) => (point ? [point[measure]] : [])); return rows.map((_, row) => sum(spreads, row)); }),
  };
}

function upTo(bounds: number[], number: number): string {
  const bound = bounds[number];
  return bound === undefined ? `> ${ms(bounds.at(-1))}` : `≤ ${ms(bound)}`;
}
