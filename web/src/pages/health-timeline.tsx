/** How the credentials of a pool have been: one bar each, over a day or a week, with the reason of every change. */
import { useQueries } from "@tanstack/react-query";
import { useState } from "react";

import { get } from "../lib/api";
import { bucket, DAY, moment, nowUs, short } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Credential, HealthChange, HealthHistory } from "../lib/types";
import { Badge, Card, Segmented, Skeleton, Trouble, type Tone } from "../ui/base";

type Span = "24h" | "7d";
const SPANS: Record<Span, number> = { "24h": DAY, "7d": 7 * DAY };
type State = HealthChange["state"];
type Stretch = { from: number; to: number; state: State; reason: string | null };
const FILLS: Record<State, string> = { healthy: "var(--good)", cooldown: "var(--warn)", disabled: "var(--bad)" };
const TONES: Record<State, Tone> = { healthy: "good", cooldown: "warn", disabled: "bad" };
const MOST = 500; // changes of one credential that a bar has room for

/** From changes, newest first, to stretches in the order of time. A cooldown ends by itself. */
export function stretches(history: HealthHistory, since: number, until: number): Stretch[] {
  const changes = [...(history.before ? [history.before] : []), ...history.items.filter((each) => each.model === null).reverse()];
  const made: Stretch[] = [];
  const add = (from: number, to: number, state: State, reason: string | null) => {
    const [begin, end] = [Math.max(since, from), Math.min(until, to)];
    if (end > begin) made.push({ from: begin, to: end, state, reason });
  };
  // Before the first change on record nothing was held against it.
  add(since, changes[0]?.at ?? until, "healthy", null);
  changes.forEach((each, index) => {
    const next = changes[index + 1]?.at ?? until;
    const ends = each.state === "cooldown" && each.until !== null ? Math.min(next, each.until) : next;
    add(each.at, ends, each.state, each.reason);
    add(ends, next, "healthy", null);
  });
  return made;
}

export function HealthTimeline({ rows, nameOf }: { rows: Credential[]; nameOf: (row: Credential) => string }) {
  const { t } = usePrefs();
  const [span, setSpan] = useState<Span>("24h");
  // To the minute, so that a repaint asks nothing new.
  const until = Math.ceil(nowUs() / 60_000_000) * 60_000_000;
  const since = until - SPANS[span];
  const found = useQueries({
    queries: rows.map((row) => {
      const path = `/admin/health/${encodeURIComponent(row.id)}/history`;
      return { queryKey: [path, since], queryFn: ({ signal }: { signal: AbortSignal }) => get<HealthHistory>(path, { since, limit: MOST }, signal), refetchInterval: 15_000 };
    }),
  });
  return (
    <Card className="mt-4" title={t("timeline.title")} action={<Segmented label={t("word.range")} value={span} onChange={setSpan} options={(["24h", "7d"] as const).map((value) => ({ value, label: t(`range.${value}`) }))} />}>
      <ul className="space-y-4 p-4">
        {rows.map((row, index) => {
          const one = found[index];
          return (
            <li key={row.id}>
              <div className="mb-1 font-medium break-all">{nameOf(row)}</div>
              {one?.data ? <Bar history={one.data} since={since} until={until} name={nameOf(row)} /> : one?.error ? <Trouble error={one.error} retry={() => void one.refetch()} /> : <Skeleton lines={1} className="p-0" />}
            </li>
          );
        })}
      </ul>
      <ul className="flex flex-wrap gap-2 px-4 pb-4 text-sm">{(["healthy", "cooldown", "disabled"] as const).map((state) => <li key={state}><Badge tone={TONES[state]}>{t(`health.${state}`)}</Badge></li>)}</ul>
    </Card>
  );
}

function Bar({ history, since, until, name }: { history: HealthHistory; since: number; until: number; name: string }) {
  const { t } = usePrefs();
  const made = stretches(history, since, until);
  const whole = until - since;
  const share = (state: State) => made.reduce((sum, each) => sum + (each.state === state ? each.to - each.from : 0), 0) / whole;
  const percent = (value: number) => `${(value * 100).toFixed(value > 0.999 && value < 1 ? 2 : 1)} %`;
  const shown = history.items.slice(0, 50);
  return (
    <>
      <svg role="img" aria-label={t("timeline.bar", { name, healthy: percent(share("healthy")), cooldown: percent(share("cooldown")), disabled: percent(share("disabled")) })} viewBox="0 0 1000 22" preserveAspectRatio="none" width="100%" height="22" className="block rounded">
        {made.map((each, index) => (
          <rect key={index} data-testid={`stretch-${each.state}`} x={((each.from - since) / whole) * 1000} y={0} height={22} width={Math.max(2, ((each.to - each.from) / whole) * 1000)} fill={FILLS[each.state]} fillOpacity={each.state === "healthy" ? 0.55 : 1}>
            <title>{`${t(`health.${each.state}`)} · ${moment(each.from)} – ${moment(each.to)}${each.reason ? ` · ${each.reason}` : ""}`}</title>
          </rect>
        ))}
      </svg>
      <div className="mt-1 flex justify-between gap-3 text-xs text-muted"><span>{bucket(since, "hour")}</span><span className="nums">{t("timeline.up", { share: percent(share("healthy")) })}</span><span>{t("timeline.now")}</span></div>
      {shown.length > 0 && (
        <details className="mt-1 text-sm">
          <summary className="text-muted">{t("timeline.changes", { n: history.items.length + (history.next_cursor ? 1 : 0) > MOST ? `${MOST}+` : history.items.length })}</summary>
          <ol className="mt-2 space-y-1">
            {shown.map((each) => (
              <li key={each.id} className="flex flex-wrap items-baseline gap-2">
                <span className="nums text-muted">{short(each.at)}</span><Badge tone={TONES[each.state]}>{t(`health.${each.state}`)}</Badge>
                {each.model && <span className="mono">{each.model}</span>}
                {each.state === "cooldown" && each.until !== null && <span className="nums text-muted">{t("timeline.for", { s: Math.max(0, Math.round((each.until - each.at) / 1e5) / 10) })}</span>}
                {each.reason && <span className="min-w-0 break-words">{each.reason}</span>}
              </li>
            ))}
          </ol>
        </details>
      )}
    </>
  );
}

