import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { CheckCircle2, Circle, RefreshCw } from "lucide-react";
import { useState, type ReactNode } from "react";

import { useAll, useRead } from "../lib/data";
import { bucket, compact, count, DAY, HOUR, nowUs, percent, usd } from "../lib/format";
import { usePrefs, type TextKey } from "../lib/prefs";
import type { Overview, Page, Provider, Series, Top, User } from "../lib/types";
import { Badge, Card, cx, IconButton, PageHead, Segmented, Skeleton, Trouble } from "../ui/base";
import { Chart, Legend } from "../ui/chart";
import { LatencyCard } from "./latency";
import { spread, stack } from "./series";

type Range = "24h" | "7d" | "30d" | "90d";
const SPANS: Record<Range, number> = { "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY };
type By = "provider_name" | "model_served" | "user_id";
type Measure = "cost" | "attempts" | "tokens";
const EVERY: Record<string, number> = { off: 0, "10": 10_000, "30": 30_000, "60": 60_000 };

export function OverviewPage() {
  const { t } = usePrefs();
  const [range, setRange] = useState<Range>("24h");
  const [every, setEvery] = useState("30");
  const [by, setBy] = useState<By>("model_served");
  const [measure, setMeasure] = useState<Measure>("cost");
  const period = range === "24h" || range === "7d" ? "hour" : "day";
  const size = period === "hour" ? HOUR : DAY;
  // The range moves with the clock, but only by whole buckets, so that a repaint asks nothing new.
  const until = Math.floor(nowUs() / size) * size + size;
  const since = until - SPANS[range];
  const refresh = { every: EVERY[every] || undefined };
  const overview = useRead<Overview>("/admin/dashboard/overview", { since, until }, refresh);
  const series = useRead<Series>("/admin/dashboard/series", { since, until, period }, refresh);
  const groups = useRead<Series>("/admin/dashboard/series", { since, until, period, by }, refresh);
  const top = useRead<{ items: Top[] }>("/admin/dashboard/top", { by, since, until, order: measure, limit: 8 }, refresh);
  const providers = useAll<Provider>("providers");
  const client = useQueryClient();

  const head = (
    <PageHead title={t("overview.title")} text={t("overview.text")}>
      <Segmented label={t("word.range")} value={range} onChange={setRange} options={(Object.keys(SPANS) as Range[]).map((value) => ({ value, label: t(`range.${value}`) }))} />
      <select aria-label={t("overview.every")} className="field w-auto text-sm" value={every} onChange={(event) => setEvery(event.target.value)}>
        {Object.keys(EVERY).map((value) => <option key={value} value={value}>{value === "off" ? t("overview.manual") : t("overview.seconds", { n: value })}</option>)}
      </select>
      <IconButton label={t("do.refresh")} onClick={() => { void client.invalidateQueries(); }}><RefreshCw size={17} className={cx(overview.isFetching && "animate-spin")} aria-hidden /></IconButton>
    </PageHead>
  );
  if (overview.isPending) return <>{head}<Skeleton lines={8} /></>;
  if (overview.error) return <>{head}<Trouble error={overview.error} retry={() => void overview.refetch()} /></>;
  const sum = overview.data;
  const ticks = spread(since, until, size);
  const names = ticks.map((tick) => bucket(tick, period));
  const at = (pick: (point: Series["points"][number]) => number) => {
    const known = new Map(series.data?.points.map((point) => [point.starts_at, pick(point)]));
    return ticks.map((tick) => known.get(tick) ?? 0);
  };
  const measures: Record<Measure, { pick: (point: Series["points"][number]) => number; format: (value: number) => string }> = {
    cost: { pick: (point) => point.cost_nano_usd / 1e9, format: (value) => (value ? usd(value) : "$0") },
    attempts: { pick: (point) => point.attempts, format: compact },
    tokens: { pick: (point) => point.input_tokens + point.output_tokens, format: compact },
  };
  const grouped = stack(groups.data?.points ?? [], ticks, measures[measure].pick, t("word.others"), new Map(top.data?.items.map((row) => [row.group, row.name])));

  return (
    <>
      {head}
      {sum.attempts === 0 && <Checklist />}
      <div className="mb-4 grid grid-cols-2 gap-3 sm:grid-cols-3 xl:grid-cols-6">
        <Figure name="overview.requests" value={count(sum.attempts)} note={t("overview.active", { users: sum.users, models: sum.models })} />
        <Figure name="overview.success" value={percent(sum.success_rate)} note={t("overview.failed", { n: count(sum.failures) })} tone={sum.success_rate !== null && sum.success_rate < 0.95 ? "bad" : undefined} />
        <Figure name="overview.cost" value={usd(sum.cost)} />
        <Figure name="overview.tokens" value={compact(sum.input_tokens + sum.output_tokens)} note={t("overview.inout", { input: compact(sum.input_tokens), output: compact(sum.output_tokens) })} />
        <Figure name="overview.cached" value={compact(sum.cache_read_tokens)} note={t("overview.written", { n: compact(sum.cache_write_tokens) })} />
        <Figure name="overview.inflight" value={count(sum.in_flight)} note={
          <span className="flex flex-wrap gap-1">
            <Badge tone="good">{t("health.n.healthy", { n: sum.credentials.healthy })}</Badge>
            {sum.credentials.cooldown > 0 && <Badge tone="warn">{t("health.n.cooldown", { n: sum.credentials.cooldown })}</Badge>}
            {sum.credentials.disabled > 0 && <Badge tone="bad">{t("health.n.disabled", { n: sum.credentials.disabled })}</Badge>}
          </span>
        } />
      </div>
      <div className="grid grid-cols-1 gap-4 lg:grid-cols-2">
        <Card className="lg:col-span-2" title={t("overview.overtime")}>
          <div className="p-3"><Chart label={t("overview.overtime")} stacked ticks={names} format={compact} colours={["var(--c2)", "var(--c4)"]} lines={[{ name: t("overview.ok"), values: at((point) => point.attempts - point.failures) }, { name: t("overview.bad"), values: at((point) => point.failures) }]} /></div>
        </Card>
        <LatencyCard since={since} until={until} period={period} every={refresh.every} providers={providers.data ?? []} />
        <Card className="lg:col-span-2" title={t("overview.by")} action={
          <span className="flex flex-wrap gap-2">
            <Segmented label={t("word.measure")} value={measure} onChange={setMeasure} options={(["cost", "attempts", "tokens"] as const).map((value) => ({ value, label: t(`measure.${value}`) }))} />
            <Segmented label={t("word.group")} value={by} onChange={setBy} options={(["model_served", "provider_name", "user_id"] as const).map((value) => ({ value, label: t(`by.${value}`) }))} />
          </span>
        }>
          <div className="grid grid-cols-1 gap-4 lg:grid-cols-[minmax(0,1fr)_20rem]">
            <div className="min-w-0 p-3"><Chart label={t("overview.by")} stacked ticks={names} format={measures[measure].format} lines={grouped} height={230} /><Legend lines={grouped} /></div>
            <ol className="space-y-3 px-4 pt-1 pb-4 lg:pt-4">
              {top.data?.items.map((row) => {
                const value = measures[measure].pick({ ...row, starts_at: 0 });
                const most = Math.max(...(top.data?.items ?? []).map((each) => measures[measure].pick({ ...each, starts_at: 0 })), 1e-12);
                return (
                  <li key={row.group}>
                    <div className="flex justify-between gap-3"><span className="min-w-0 truncate" title={row.name}>{row.name}</span><span className="nums font-medium whitespace-nowrap">{measures[measure].format(value)}</span></div>
                    <div className="mt-1 h-1.5 rounded-full bg-raised"><div className="h-full rounded-full bg-accent" style={{ width: `${(value / most) * 100}%` }} /></div>
                  </li>
                );
              })}
              {top.data?.items.length === 0 && <li className="text-muted">{t("overview.nothing")}</li>}
            </ol>
          </div>
        </Card>
      </div>
    </>
  );
}

function Figure({ name, value, note, tone }: { name: TextKey; value: string; note?: ReactNode; tone?: "bad" }) {
  const { t } = usePrefs();
  return (
    <div className="min-w-0 rounded-xl border border-line bg-panel p-3.5">
      <div className="text-sm text-muted">{t(name)}</div>
      <div className={cx("nums mt-0.5 text-2xl font-semibold tracking-tight", tone === "bad" && "text-bad")}>{value}</div>
      {note && <div className="mt-1 text-xs text-muted">{note}</div>}
    </div>
  );
}

/** What a new installation still lacks, in order; every step leads to where it is done. */
function Checklist() {
  const { t } = usePrefs();
  const providers = useAll<Provider>("providers");
  const users = useAll<User>("users");
  // A quiet day at an old gateway is no first day.
  const ever = useRead<Page<unknown>>("/admin/usages", { limit: 1 });
  if (!ever.data || ever.data.items.length) return null;
  const steps: { done: boolean; text: TextKey; to: string }[] = [
    { done: (providers.data ?? []).length > 0, text: "first.provider", to: "/providers" },
    { done: (providers.data ?? []).some((row) => row.credential_count > 0), text: "first.credential", to: providers.data?.[0] ? `/providers/${encodeURIComponent(providers.data[0].name)}` : "/providers" },
    { done: (providers.data ?? []).some((row) => row.model_count > 0), text: "first.model", to: "/models" },
    { done: (users.data ?? []).some((row) => !row.is_admin && row.key_count > 0), text: "first.user", to: "/users" },
    { done: false, text: "first.request", to: "/playground" },
  ];
  return (
    <Card title={t("first.title")} className="mb-4">
      <ol className="grid gap-1 p-3 sm:grid-cols-2 lg:grid-cols-5">
        {steps.map((step, index) => (
          <li key={step.text}>
            <Link to={step.to as never} className="flex h-full items-start gap-2.5 rounded-lg p-2 hover:bg-raised">
              {step.done ? <CheckCircle2 size={19} className="mt-0.5 shrink-0 text-good" aria-hidden /> : <Circle size={19} className="mt-0.5 shrink-0 text-muted" aria-hidden />}
              <span className={cx(step.done && "text-muted line-through")}>{index + 1}. {t(step.text)}<span className="sr-only">{step.done ? ` (${t("word.done")})` : ""}</span></span>
            </Link>
          </li>
        ))}
      </ol>
    </Card>
  );
}
