import { useQuery } from "@tanstack/react-query";
import { Activity } from "lucide-react";

import { useRead } from "../lib/data";
import { count, ms } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { InFlights, Readiness } from "../lib/types";
import { Badge, Card, Empty, PageHead } from "../ui/base";
import { Table } from "../ui/table";
import { Drain, useStop } from "./drain";

type Word = { ready: Readiness | null };

const STATES = ["starting", "ready", "lame_duck", "draining", "flushing", "stopped"] as const;
const known = (state: string): state is (typeof STATES)[number] => (STATES as readonly string[]).includes(state);

export function LivePage() {
  const { t } = usePrefs();
  const flight = useRead<InFlights>("/admin/in_flight", {}, { every: 1000 });
  const ready = useQuery({
    queryKey: ["readyz"],
    refetchInterval: 1000,
    retry: false,
    queryFn: async ({ signal }): Promise<Word> => {
      try {
        return { ready: (await (await fetch("/readyz", { signal, cache: "no-store" })).json()) as Readiness };
      } catch (error) {
        if (error instanceof DOMException) throw error;
        return { ready: null };
      }
    },
  });
  const word = ready.data;
  const state = word?.ready?.state;
  const plan = flight.data?.stop;
  const begun = useStop(plan, flight.dataUpdatedAt, word && (word.ready?.state === "ready" || word.ready?.state === "starting"));
  const rows = flight.data?.items ?? [];
  return (
    <>
      <PageHead title={t("live.title")} text={t("live.text")}>
        {state && <Badge tone={word?.ready?.status === "ok" ? "good" : word?.ready?.status === "amber" ? "warn" : "bad"}>{t("live.state", { state: known(state) ? t(`state.${state}`) : state })}</Badge>}
      </PageHead>
      {begun !== null && <Drain begun={begun} plan={plan} reachable={!!word?.ready} inFlight={word?.ready?.in_flight} />}
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
