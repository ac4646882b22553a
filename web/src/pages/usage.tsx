import { Download } from "lucide-react";
import { useState } from "react";

import { useAll, useRead } from "../lib/data";
import { bucket, compact, count, DAY, HOUR, nowUs, usd } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Credential, Figures, Key, Point, Provider, Series, Top, User } from "../lib/types";
import { Button, Card, Empty, Field, PageHead, Skeleton, Trouble } from "../ui/base";
import { Chart, Legend } from "../ui/chart";
import { Table } from "../ui/table";
import { spread, stack } from "./series";

/** The first three have totals together and can be filtered by each other; every other column has totals of its own. */
const TOGETHER = ["model_served", "provider_name", "user_id"] as const;
const ALONE = ["key_id", "route_name", "model_asked", "credential_id", "channel", "operation", "dialect_in", "dialect_out", "outcome", "streamed"] as const;
type By = (typeof TOGETHER)[number] | (typeof ALONE)[number];
type Measure = "cost" | "attempts" | "failures" | "tokens";
const SPANS = { "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY } as const;
const PICK: Record<Measure, (row: Figures) => number> = {
  cost: (row) => row.cost_nano_usd / 1e9, attempts: (row) => row.attempts, failures: (row) => row.failures, tokens: (row) => row.input_tokens + row.output_tokens,
};

/** A cell that a spreadsheet reads as text: quoted, and never as a formula. */
export const csvCell = (value: string | number) => {
  const text = String(value);
  return `"${(typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
};

export function download(name: string, text: string, type: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function UsagePage() {
  const { t } = usePrefs();
  const [span, setSpan] = useState<keyof typeof SPANS>("7d");
  const [by, setBy] = useState<By>("model_served");
  const [measure, setMeasure] = useState<Measure>("cost");
  const [user, setUser] = useState("");
  const [provider, setProvider] = useState("");
  const users = useAll<User>("users");
  const providers = useAll<Provider>("providers");
  const period = span === "24h" || span === "7d" ? "hour" : "day";
  const size = period === "hour" ? HOUR : DAY;
  const until = Math.floor(nowUs() / size) * size + size;
  const since = until - SPANS[span];
  const alone = (ALONE as readonly By[]).includes(by);
  const filters = alone ? {} : { user_id: user, provider_name: provider };
  const series = useRead<Series>("/admin/dashboard/series", { since, until, period, by, ...filters });
  const names = useNames(by, users.data);
  const named = (group: string) => names.get(group) ?? group;
  const rows = totals(series.data?.points ?? [], named).sort((left, right) => PICK[measure](right) - PICK[measure](left));
  const ticks = spread(since, until, size);
  const format = measure === "cost" ? (value: number) => (value ? usd(value) : "$0") : compact;
  const lines = stack(series.data?.points ?? [], ticks, PICK[measure], t("word.others"), names);
  const columns = ["attempts", "failures", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"] as const;
  const save = () => {
    // Names of keys and credentials need not be unique, so their ids go along.
    const ids = by === "key_id" || by === "credential_id";
    const who = (group: string) => (ids ? [named(group), group] : [by === "user_id" ? named(group) : group]);
    const head = [...(ids ? [by.replace("_id", ""), by] : [by === "user_id" ? "user" : by]), ...columns, "cost_usd"];
    const body = (series.data?.points ?? []).map((row) => [new Date(row.starts_at / 1000).toISOString(), ...who(row.group ?? ""), ...columns.map((name) => row[name]), row.cost]);
    download(`gproxy-usage-${span}.csv`, [["starts_at", ...head], ...body].map((line) => line.map(csvCell).join(",")).join("\r\n"), "text/csv");
  };
  return (
    <>
      <PageHead title={t("usage.title")} text={t("usage.text")}><Button disabled={!series.data?.points.length} onClick={save}><Download size={16} aria-hidden />{t("usage.csv")}</Button></PageHead>
      <Card className="mb-4">
        <div className="grid grid-cols-2 gap-3 border-b border-line p-4 lg:grid-cols-5">
          <Field label={t("word.range")}><select className="field" value={span} onChange={(event) => setSpan(event.target.value as keyof typeof SPANS)}>{(Object.keys(SPANS) as (keyof typeof SPANS)[]).map((each) => <option key={each} value={each}>{t(`range.${each}`)}</option>)}</select></Field>
          <Field label={t("word.group")}><select className="field" value={by} onChange={(event) => setBy(event.target.value as By)}>{[...TOGETHER, ...ALONE].map((each) => <option key={each} value={each}>{t(`by.${each}`)}</option>)}</select></Field>
          <Field label={t("word.measure")}><select className="field" value={measure} onChange={(event) => setMeasure(event.target.value as Measure)}>{(["cost", "attempts", "failures", "tokens"] as const).map((each) => <option key={each} value={each}>{t(`measure.${each}`)}</option>)}</select></Field>
          <Field label={t("word.user")} hint={alone && t("usage.alone")}><select className="field" disabled={alone} value={alone ? "" : user} onChange={(event) => setUser(event.target.value)}><option value="">{t("word.all")}</option>{(users.data ?? []).map((each) => <option key={each.id} value={each.id}>{each.name}</option>)}</select></Field>
          <Field label={t("word.provider")} hint={alone && t("usage.alone")}><select className="field" disabled={alone} value={alone ? "" : provider} onChange={(event) => setProvider(event.target.value)}><option value="">{t("word.all")}</option>{(providers.data ?? []).map((each) => <option key={each.id}>{each.name}</option>)}</select></Field>
        </div>
        {series.isPending ? <Skeleton lines={6} /> : series.error ? <Trouble error={series.error} retry={() => void series.refetch()} /> : (
          <><div className="p-3"><Chart stacked label={t("usage.title")} ticks={ticks.map((tick) => bucket(tick, period))} lines={lines} format={format} height={260} /></div><Legend lines={lines} /></>
        )}
      </Card>
      <Card title={t("usage.sums")}>
        <Table label={t("usage.sums")} id={(row) => row.group} source={{ rows, isPending: series.isPending, error: series.error, refetch: series.refetch }}
          empty={<Empty title={t("usage.empty")} text={t("usage.empty.text")} />}
          columns={[
            { head: t(`by.${by}`), wide: true, cell: (row) => <span className="font-medium">{row.name}</span> },
            { head: t("word.cost"), right: true, cell: (row) => usd(row.cost_nano_usd / 1e9) },
            { head: t("measure.attempts"), right: true, cell: (row) => count(row.attempts) },
            { head: t("measure.failures"), right: true, from: "sm", cell: (row) => count(row.failures) },
            { head: t("usage.input"), right: true, from: "md", cell: (row) => count(row.input_tokens) },
            { head: t("usage.output"), right: true, from: "md", cell: (row) => count(row.output_tokens) },
            { head: t("usage.cached"), right: true, from: "lg", cell: (row) => count(row.cache_read_tokens) },
            { head: t("usage.reasoning"), right: true, from: "lg", cell: (row) => count(row.reasoning_tokens) },
          ]} />
      </Card>
    </>
  );
}

/** What groups are called that go by ids, or by nothing. What has been deleted keeps its id. */
function useNames(by: By, users: User[] = []): Map<string, string> {
  const { t } = usePrefs();
  const keys = useAll<Key>("keys", {}, { enabled: by === "key_id" });
  const credentials = useAll<Credential>("credentials", {}, { enabled: by === "credential_id" });
  const pairs: Partial<Record<By, [string, string][]>> = {
    user_id: users.map((each) => [each.id, each.name]),
    key_id: keys.data?.map((each) => [each.id, `${each.user_name} / ${each.label ?? each.masked}`]),
    credential_id: credentials.data?.map((each) => [each.id, `${each.provider_name} / ${each.label ?? Object.values(each.fields ?? {})[0] ?? each.id}`]),
    route_name: [["", t("by.route_name.none")]],
    streamed: [["true", t("word.yes")], ["false", t("word.no")]],
  };
  return new Map(pairs[by]);
}

/** The sums of each group over all buckets. */
function totals(points: Point[], named: (group: string) => string): Top[] {
  const sums = new Map<string, Top>();
  for (const { starts_at: _at, ...point } of points) {
    const group = point.group ?? "";
    const before = sums.get(group);
    if (!before) sums.set(group, { ...point, group, name: named(group) });
    else
      for (const name of ["attempts", "failures", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_nano_usd"] as const) before[name] += point[name];
  }
  return [...sums.values()];
}
