/** A stop of the server, counted down: by its own plan, which is known before the listener closes and nobody answers. */
import { useEffect, useState } from "react";

import { usePrefs } from "../lib/prefs";
import type { StopPlan } from "../lib/types";

/** When the stop began, by this browser's clock (ms), as soon as one is noticed; null while there is none. */
export function useStop(plan: StopPlan | undefined, at: number, serving: boolean | undefined): number | null {
  const [begun, setBegun] = useState<number | null>(null);
  const elapsed = plan?.elapsed_ms ?? null;
  useEffect(() => {
    if (serving) setBegun(null);
    else if (elapsed !== null) setBegun(at - elapsed);
    // Without an answer the server takes no connections any more: then it is known only since when.
    else if (serving === false) setBegun((before) => before ?? Date.now());
  }, [serving, elapsed, at]);
  return begun;
}

export function Drain({ begun, plan, reachable, inFlight }: { begun: number; plan: StopPlan | undefined; reachable: boolean; inFlight: number | undefined }) {
  const { t } = usePrefs();
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);
  const gone = Math.max(0, now - begun);
  const phases = plan ? ([["accepting", plan.delay_ms], ["draining", plan.drain_ms], ["flushing", plan.worker_ms]] as const) : [];
  const whole = phases.reduce((sum, [, length]) => sum + length, 0);
  let start = 0;
  const placed = phases.map(([name, length]) => { const from = start; start += length; return { name, from, length }; });
  const present = placed.find((each) => gone < each.from + each.length);
  const left = (until: number) => Math.max(0, Math.ceil((until - gone) / 1000));
  return (
    <div className="mb-4 rounded-xl border border-warn bg-warn-soft p-4 text-warn" data-testid="drain">
      <p role="alert" className="font-semibold">{reachable ? t("drain.title") : t("drain.gone")}</p>
      {present ? (
        <p className="nums" role="timer">{t(`drain.${present.name}`, { s: left(present.from + present.length) })} {t("drain.ends", { s: left(whole) })}{reachable && inFlight !== undefined ? ` · ${t("drain.inflight", { n: inFlight })}` : ""}</p>
      ) : <p className="nums" role="timer">{whole ? t("drain.over") : t("drain.since", { s: Math.floor(gone / 1000) })}</p>}
      {whole > 0 && (
        <svg aria-hidden viewBox="0 0 1000 8" preserveAspectRatio="none" width="100%" height="8" className="mt-3 block rounded">
          <rect width="1000" height="8" fill="currentColor" fillOpacity="0.2" />
          <rect width={Math.min(1000, (gone / whole) * 1000)} height="8" fill="currentColor" />
          {placed.slice(1).map((each) => <rect key={each.name} x={(each.from / whole) * 1000 - 2} width="4" height="8" fill="var(--panel)" />)}
        </svg>
      )}
    </div>
  );
}
