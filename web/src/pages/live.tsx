import { useQuery } from "@tanstack/react-query";
import { Activity } from "lucide-react";
import { useEffect, useState } from "react";

import { useRead } from "../lib/data";
import { count, ms } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { InFlight, Readiness, Setting } from "../lib/types";
import { Badge, Card, Empty, PageHead } from "../ui/base";
import { Table } from "../ui/table";

type Word = { at: number; ready: Readiness | null };

/** Seconds of a setting as the server writes them: `20s`, `1m30s`, `500ms`, or a plain number. */
export function seconds(text: string | null | undefined): number {
  if (!text) return 0;
  if (/^[\d.]+$/.test(text)) return Number(text);
  const units: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };
  return [...text.matchAll(/([\d.]+)\s*(ms|[smhd])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * (units[unit as string] ?? 0), 0);
}

export function LivePage() {
  const { t } = usePrefs();
  const [leaving, setLeaving] = useState<{ since: number; state: string } | null>(null);
  const flight = useRead<{ count: number; limit: number; items: InFlight[] }>("/admin/in_flight", {}, { every: 1000 });
  const settings = useRead<{ items: Setting[] }>("/admin/settings");
  const ready = useQuery({
    queryKey: ["readyz"],
    refetchInterval: 1000,
    retry: false,
    queryFn: async ({ signal }): Promise<Word> => {
      try {
        return { at: Date.now(), ready: (await (await fetch("/readyz", { signal, cache: "no-store" })).json()) as Readiness };
      } catch (error) {
        if (error instanceof DOMException) throw error;
        return { at: Date.now(), ready: null };
      }
    },
  });
  const word = ready.data;
  const state = word?.ready?.state;
  useEffect(() => {
    if (!word) return;
    if (word.ready?.state === "ready") setLeaving(null);
    // Without an answer the server is not taking connections any more: it may still be finishing what it has.
    else setLeaving((before) => ({ since: before?.since ?? word.at, state: word.ready?.state ?? "unreachable" }));
  }, [word]);
  const find = (name: string) => seconds(settings.data?.items.find((each) => each.name === name)?.in_force);
  // How long a drain may take is only known where the server tells; else the time since it began is.
  const whole = find("shutdown_delay") + find("drain_timeout");
  const gone = leaving ? (Date.now() - leaving.since) / 1000 : 0;
  const rows = flight.data?.items ?? [];
  return (
    <>
      <PageHead title={t("live.title")} text={t("live.text")}>
        {state && <Badge tone={word?.ready?.status === "ok" ? "good" : word?.ready?.status === "amber" ? "warn" : "bad"}>{t("live.state", { state })}</Badge>}
      </PageHead>
      {leaving && (
        <div role="alert" className="mb-4 rounded-xl border border-warn bg-warn-soft p-4 text-warn">
          <p className="font-semibold">{leaving.state === "unreachable" ? t("drain.gone") : t("drain.title", { state: leaving.state })}</p>
          <p className="nums">{t(whole ? "drain.left" : "drain.since", { s: Math.ceil(whole ? Math.max(0, whole - gone) : gone), n: word?.ready?.in_flight ?? "–" })}</p>
        </div>
      )}
      <Card title={t("live.inflight", { n: count(flight.data?.count ?? 0), limit: count(flight.data?.limit ?? 0) })}>
        <Table label={t("live.title")} id={(row) => row.request_id} source={{ rows, isPending: flight.isPending, error: flight.error, refetch: flight.refetch }}
          empty={<Empty icon={<Activity size={22} />} title={t("live.empty")} text={t("live.empty.text")} />}
          columns={[
            { head: t("live.age"), right: true, cell: (row) => ms(row.age_ms) },
            { head: t("word.user"), cell: (row) => row.user_name ?? "–" },
            { head: t("word.model"), wide: true, cell: (row) => <div><div>{row.model_asked || "–"}</div><div className="text-sm text-muted">{row.provider_name ?? t("live.choosing")}</div></div> },
            { head: t("word.dialect"), from: "md", cell: (row) => row.dialect },
            { head: t("live.call"), from: "lg", cell: (row) => <span className="mono">{row.method} {row.path}</span> },
            { head: t("live.tokens"), right: true, cell: (row) => (row.output_tokens ? count(row.output_tokens) : "–") },
            { head: t("live.attempts"), right: true, from: "sm", cell: (row) => row.attempts },
            { head: t("word.state"), cell: (row) => <Badge tone={row.answering ? "good" : "accent"}>{row.answering ? (row.streamed ? t("live.streaming") : t("live.answering")) : t("live.waiting")}</Badge> },
          ]} />
      </Card>
      {word?.ready && (
        <Card title={t("live.checks")} className="mt-4">
          <ul className="flex flex-wrap gap-2 p-4">{Object.entries(word.ready.checks).map(([name, check]) => <li key={name}><Badge tone={check.status === "ok" ? "good" : check.status === "amber" ? "warn" : "bad"}>{name}{check.detail ? `: ${check.detail}` : ""}</Badge></li>)}</ul>
        </Card>
      )}
    </>
  );
}
