/** What is left of a budget, day by day, and when it will be used up if spending goes on as in the last days. */
import { useRead } from "../lib/data";
import { bucket, day, DAY, nowUs, usd } from "../lib/format";
import { usePrefs, type TextKey } from "../lib/prefs";
import type { Quota, Series } from "../lib/types";
import { Skeleton } from "../ui/base";
import { Chart, type Line } from "../ui/chart";
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
  const spent = days.map((each) => cost.get(each) ?? 0);
  const left = Math.max(0, Number(row.quota) - Number(row.cost_used));
  // Backwards from what is left now: at the end of each day, what was spent later was still there.
  const known = spent.map((_, at) => left + spent.slice(at + 1).reduce((sum, value) => sum + value, 0));
  const { perDay, endsIn } = forecast(spent, left);
  const ahead = Array.from({ length: AHEAD }, (_, at) => (perDay > 0 ? Math.max(0, left - perDay * (at + 1)) : null));
  const ticks = [...days, ...ahead.map((_, at) => until + at * DAY)].map((each) => bucket(each, "day"));
  return (
    <Drawn text={endText(endsIn, perDay, t)} ticks={ticks} lines={[
      { name: t("burn.left"), values: [...known, ...ahead.map(() => null)] },
      { name: t("burn.forecast"), values: [...spent.slice(1).map(() => null), perDay > 0 ? left : null, ...ahead] },
    ]} />
  );
}

function endText(endsIn: number | null, perDay: number, t: (key: TextKey, values?: Record<string, string | number>) => string): string {
  if (endsIn === null) return t("burn.never");
  if (endsIn === 0) return t("burn.over");
  if (endsIn > 3650) return t("burn.far", { usd: usd(perDay) });
  const ends = nowUs() + endsIn * DAY;
  return t("burn.ends", { usd: usd(perDay), at: endsIn < 2 ? bucket(ends, "hour") : day(ends), days: endsIn.toFixed(endsIn < 10 ? 1 : 0) });
}

function Drawn({ text, ticks, lines }: { text: string; ticks: string[]; lines: Line[] }) {
  const { t } = usePrefs();
  return (
    <div className="mt-4" data-testid="burn-down">
      <Chart label={`${t("burn.title")}: ${text}`} ticks={ticks} height={150} format={(value) => (value ? usd(value) : "$0")} dashed={[1]} lines={lines} />
      <p className="mt-1 text-sm text-muted">{text}</p>
    </div>
  );
}
