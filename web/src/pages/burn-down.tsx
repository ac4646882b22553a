/** What is left of a budget, day by day, and when it will be used up if spending goes on as in the last days. */
import { useRead } from "../lib/data";
import { bucket, DAY, HOUR, nowUs, usd } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Quota, Series } from "../lib/types";
import { Skeleton } from "../ui/base";
import { Chart } from "../ui/chart";
import { spread } from "./series";

const BACK = 14, AHEAD = 14, MEASURED = 7; // days

export type Forecast = { perDay: number; endsIn: number | null };

/** Spending per day over the last days, and in how many days nothing is left; null: not at this pace. */
export function forecast(spent: number[], left: number): Forecast {
  // A user who began yesterday is not measured over a week of nothing.
  const first = spent.findIndex((value) => value > 0);
  const days = first < 0 ? [] : spent.slice(Math.max(first, spent.length - MEASURED));
  const perDay = days.length ? days.reduce((sum, value) => sum + value, 0) / days.length : 0;
  return { perDay, endsIn: left <= 0 ? 0 : perDay > 0 ? left / perDay : null };
}

type Props = { row: Pick<Quota, "quota" | "cost_used" | "reserved" | "remaining">; path: string; user?: string };

export function BurnDown({ row, path, user }: Props) {
  const { t } = usePrefs();
  const until = Math.floor(nowUs() / DAY) * DAY + DAY;
  const since = until - BACK * DAY;
  const series = useRead<Series>(path, { since, until, period: "day", user_id: user });
  if (row.quota === null) return null;
  if (!series.data) return <Skeleton lines={2} className="px-0" />;
  const days = spread(since, until, DAY);
  const cost = new Map(series.data.points.map((point) => [point.starts_at, point.cost_nano_usd / 1e9]));
  const spent = days.map((day) => cost.get(day) ?? 0);
  const left = Math.max(0, Number(row.quota) - Number(row.cost_used));
  // Backwards from what is left now: at the end of each day, what was spent later was still there.
  const known = spent.map((_, at) => left + spent.slice(at + 1).reduce((sum, value) => sum + value, 0));
  const { perDay, endsIn } = forecast(spent, left);
  const ahead = Array.from({ length: AHEAD }, (_, at) => (perDay > 0 ? Math.max(0, left - perDay * (at + 1)) : null));
  const ticks = [...days, ...ahead.map((_, at) => until + at * DAY)].map((day) => bucket(day, "day"));
  const ends = endsIn === null ? null : new Date(Date.now() + endsIn * (DAY / 1000));
  const text = endsIn === null ? t("burn.never") : endsIn === 0 ? t("burn.over") : endsIn > 3650 ? t("burn.far", { usd: usd(perDay) }) : t("burn.ends", { usd: usd(perDay), at: endsIn * DAY < 48 * HOUR ? bucket(ends!.getTime() * 1000, "hour") : bucket(ends!.getTime() * 1000, "day"), days: endsIn.toFixed(endsIn < 10 ? 1 : 0) });
  return (
    <div className="mt-4" data-testid="burn-down">
      <Chart label={`${t("burn.title")}: ${text}`} ticks={ticks} height={150} format={(value) => (value ? usd(value) : "$0")} dashed={[1]}
        lines={[{ name: t("burn.left"), values: [...known, ...ahead.map(() => null)] }, { name: t("burn.forecast"), values: [...spent.slice(1).map(() => null), perDay > 0 ? left : null, ...ahead] }]} />
      <p className="mt-1 text-sm text-muted">{text}</p>
    </div>
  );
}
