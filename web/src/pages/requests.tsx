import { ScrollText } from "lucide-react";
import { useState } from "react";

import { useAll, useRows } from "../lib/data";
import { count, DAY, HOUR, moment, ms, nowUs, short, usd } from "../lib/format";
import { usePrefs, type TextKey } from "../lib/prefs";
import { useSession } from "../lib/session";
import type { Provider, Usage, User } from "../lib/types";
import { Badge, Button, Card, CopyButton, Empty, Field, PageHead, type Tone } from "../ui/base";
import { Dialog } from "../ui/dialog";
import { Table } from "../ui/table";
import { Story, StoryButton } from "./story";

const TONES: Record<string, Tone> = { complete: "good", interrupted: "warn", cancelled: "plain", failed: "bad" };
const NONE = { user_id: "", provider_name: "", model_asked: "", outcome: "", status: "", request_id: "", span: "all" };
const SPANS: Record<string, number> = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY };

export function RequestsPage() {
  const { t } = usePrefs();
  const [filters, setFilters] = useState(NONE);
  const [since, setSince] = useState(0);
  const [open, setOpen] = useState<Usage | null>(null);
  const users = useAll<User>("users");
  const providers = useAll<Provider>("providers");
  const { span, ...equal } = filters;
  const source = useRows<Usage>("/admin/usages", { ...equal, since: since || null }, { limit: 50, every: 3000 });
  const put = (change: Partial<typeof NONE>) => {
    setFilters({ ...filters, ...change });
    if (change.span) setSince(SPANS[change.span] ? nowUs() - (SPANS[change.span] as number) : 0);
  };
  const text = (name: "model_asked" | "status" | "request_id", label: TextKey) => (
    <Field label={t(label)}><input className="field text-sm" inputMode={name === "status" ? "numeric" : undefined} value={filters[name]} onChange={(event) => put({ [name]: event.target.value.trim().slice(0, 300).replace(name === "status" ? /\D/g : /^$/, "") })} /></Field>
  );
  const pick = (name: "user_id" | "provider_name" | "outcome", label: TextKey, options: { value: string; label: string }[]) => (
    <Field label={t(label)}><select className="field text-sm" value={filters[name]} onChange={(event) => put({ [name]: event.target.value })}><option value="">{t("word.all")}</option>{options.map((each) => <option key={each.value} value={each.value}>{each.label}</option>)}</select></Field>
  );
  const same = (value: string) => ({ value, label: value });
  return (
    <>
      <PageHead title={t("requests.title")} text={t("requests.text")}>
        {JSON.stringify(filters) !== JSON.stringify(NONE) && <Button onClick={() => { setFilters(NONE); setSince(0); }}>{t("do.clear")}</Button>}
        <Button onClick={() => void source.refetch()} busy={source.isFetching && !source.isFetchingNextPage}>{t("do.refresh")}</Button>
      </PageHead>
      <Card>
        <div className="grid grid-cols-2 gap-3 border-b border-line p-4 md:grid-cols-4 xl:grid-cols-7">
          <Field label={t("word.range")}><select className="field text-sm" value={span} onChange={(event) => put({ span: event.target.value })}>{["all", ...Object.keys(SPANS)].map((each) => <option key={each} value={each}>{t(`range.${each as "all"}`)}</option>)}</select></Field>
          {pick("user_id", "word.user", (users.data ?? []).map((each) => ({ value: each.id, label: each.name })))}
          {pick("provider_name", "word.provider", (providers.data ?? []).map((each) => same(each.name)))}
          {text("model_asked", "requests.asked")}
          {pick("outcome", "word.outcome", ["complete", "interrupted", "cancelled", "failed"].map(same))}
          {text("status", "word.status")}
          {text("request_id", "requests.id")}
        </div>
        <UsageTable source={source} onOpen={setOpen} asked={filters.request_id} />
      </Card>
      {open && <UsageDetail row={open} onClose={() => setOpen(null)} />}
    </>
  );
}

/** `asked`: the request id that was looked for; one that was refused has a story but no line in the ledger. */
export function UsageTable({ source, onOpen, own, asked }: { source: ReturnType<typeof useRows<Usage>>; onOpen: (row: Usage) => void; own?: boolean; asked?: string }) {
  const { t } = usePrefs();
  return (
    <Table
      label={t("requests.title")} source={source} id={(row) => row.attempt_id} onOpen={onOpen}
      empty={<Empty icon={<ScrollText size={22} />} title={t("requests.empty")} text={t("requests.empty.text")}>{asked && <StoryButton id={asked}>{t("requests.refused")}</StoryButton>}</Empty>}
      columns={[
        { head: t("word.when"), cell: (row) => <button type="button" className="nums text-left whitespace-nowrap text-accent hover:underline" onClick={(event) => { event.stopPropagation(); onOpen(row); }}>{short(row.at)}</button> },
        ...(own ? [] : [{ head: t("word.user"), from: "sm" as const, cell: (row: Usage) => row.user_name }]),
        { head: t("word.model"), wide: true, cell: (row) => <div><div className="line-clamp-2" title={row.model_asked}>{row.model_asked}</div><div className="line-clamp-2 text-sm text-muted">{row.provider_name}{row.model_served !== row.model_asked ? ` · ${row.model_served}` : ""}</div></div> },
        { head: t("requests.tokens"), right: true, from: "md", cell: (row) => `${count(row.input_tokens)} / ${count(row.output_tokens)}` },
        { head: t("word.cost"), right: true, cell: (row) => usd(row.cost) },
        { head: t("requests.first"), right: true, from: "lg", cell: (row) => ms(row.first_byte_ms) },
        { head: t("requests.total"), right: true, from: "sm", cell: (row) => ms(row.total_ms) },
        { head: t("word.outcome"), cell: (row) => <Badge tone={TONES[row.outcome]}>{row.status || "–"} {row.outcome}</Badge> },
      ]}
    />
  );
}

export function UsageDetail({ row, onClose }: { row: Usage; onClose: () => void }) {
  const { t } = usePrefs();
  const { me } = useSession();
  const parts: [TextKey, [string, string][]][] = [
    ["detail.request", [
      ["request_id", row.request_id], ["attempt_id", row.attempt_id], ["at", moment(row.at)], ["user_name", row.user_name], ["key_id", row.key_id], ["operation", row.operation],
      ["dialect_in", row.dialect_in], ["model_asked", row.model_asked], ["route_name", row.route_name ?? "–"], ["streamed", row.streamed ? t("word.yes") : t("word.no")],
    ]],
    ["detail.upstream", [["provider_name", row.provider_name], ["channel", row.channel], ["credential_id", row.credential_id], ["dialect_out", row.dialect_out], ["model_served", row.model_served], ["attempt_no", String(row.attempt_no)]]],
    ["detail.result", [["outcome", row.outcome], ["status", String(row.status)], ["first_byte_ms", ms(row.first_byte_ms)], ["total_ms", ms(row.total_ms)], ["source", row.source]]],
    ["detail.cost", [
      ["cost", usd(row.cost)], ["price_version", row.price_version], ["input_tokens", count(row.input_tokens)], ["output_tokens", count(row.output_tokens)], ["cache_read_tokens", count(row.cache_read_tokens)],
      ["cache_write_5m_tokens", count(row.cache_write_5m_tokens)], ["cache_write_1h_tokens", count(row.cache_write_1h_tokens)], ["reasoning_tokens", count(row.reasoning_tokens)], ["audio_tokens", count(row.audio_tokens)],
      ...(row.excess_nano_usd ? [["excess", usd(row.excess_nano_usd / 1e9)] as [string, string]] : []),
    ]],
  ];
  return (
    <Dialog side title={row.model_asked} onClose={onClose} foot={<CopyButton small={false} text={JSON.stringify(row, null, 1)} label={t("detail.copy")} />}>
      <p className="mb-4"><Badge tone={TONES[row.outcome]}>{row.status || "–"} {row.outcome}</Badge></p>
      {me?.is_admin && <Story id={row.request_id} />}
      {parts.map(([head, rows]) => (
        <section key={head} className="mb-5">
          <h3 className="mb-1.5 font-semibold">{t(head)}</h3>
          <dl className="grid grid-cols-[9.5rem_1fr] gap-x-3 gap-y-1">{rows.map(([name, value]) => <div key={name} className="contents"><dt className="mono text-muted">{name}</dt><dd className="nums min-w-0 break-all">{value}</dd></div>)}</dl>
        </section>
      ))}
    </Dialog>
  );
}
