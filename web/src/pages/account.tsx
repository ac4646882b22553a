import { useState } from "react";

import { api } from "../lib/api";
import { useRead, useRows } from "../lib/data";
import { compact, count, DAY, HOUR, nowUs, usd } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import { expire, useSession } from "../lib/session";
import type { Figures, OwnModel, Quota, Usage } from "../lib/types";
import { Badge, Button, Card, Empty, PageHead, Skeleton, Tabs } from "../ui/base";
import { Editor } from "../ui/form";
import { BurnDown } from "./burn-down";
import { Keys } from "./keys";
import { UsageDetail, UsageTable } from "./requests";
import { Budget } from "./users";

export function AccountPage() {
  const { t } = usePrefs();
  const { me } = useSession();
  const [tab, setTab] = useState<"keys" | "usage" | "models">("keys");
  const [changing, setChanging] = useState(false);
  const [open, setOpen] = useState<Usage | null>(null);
  const since = Math.floor((nowUs() - 30 * DAY) / HOUR) * HOUR;
  const quota = useRead<Quota>("/user/quota", {}, { every: 30_000 });
  const sums = useRead<Figures>("/user/usages/summary", { since });
  const models = useRead<{ items: OwnModel[] }>("/user/models", {}, { enabled: tab === "models" });
  const rows = useRows<Usage>("/user/usages", {}, { limit: 50, enabled: tab === "usage" });
  return (
    <>
      <PageHead title={t("account.title")} text={me?.name}><Button onClick={() => setChanging(true)}>{t("account.password")}</Button></PageHead>
      <div className="mb-4 grid gap-4 md:grid-cols-2">
        <Card title={t("word.budget")}><div className="p-4">{quota.data ? <><Budget row={quota.data} /><BurnDown row={quota.data} path="/user/usages/series" /></> : <Skeleton lines={1} className="p-0" />}</div></Card>
        <Card title={t("account.month")}>
          {sums.data ? (
            <dl className="grid grid-cols-3 gap-3 p-4">
              {([["overview.requests", count(sums.data.attempts)], ["overview.cost", usd(sums.data.cost)], ["overview.tokens", compact(sums.data.input_tokens + sums.data.output_tokens)]] as const).map(([name, value]) => <div key={name}><dt className="text-sm text-muted">{t(name)}</dt><dd className="nums text-lg font-semibold">{value}</dd></div>)}
            </dl>
          ) : <Skeleton lines={1} />}
        </Card>
      </div>
      <Tabs label={t("account.title")} value={tab} onChange={setTab} options={[{ value: "keys", label: t("word.keys") }, { value: "usage", label: t("requests.title") }, { value: "models", label: t("word.models") }]} />
      {tab === "keys" && <Keys path="/user/keys" />}
      {tab === "usage" && <Card><UsageTable own source={rows} onOpen={setOpen} /></Card>}
      {tab === "models" && (
        <Card title={t("account.models")}>
          {models.isPending ? <Skeleton /> : models.data?.items.length ? (
            <ul className="grid gap-x-6 p-4 sm:grid-cols-2">{models.data.items.map((each) => <li key={`${each.kind} ${each.id}`} className="flex items-center justify-between gap-3 border-b border-line py-1.5"><span className="mono min-w-0 break-all">{each.id}</span><Badge>{each.kind}</Badge></li>)}</ul>
          ) : <Empty title={t("account.nomodels")} text={t("account.nomodels.text")} />}
        </Card>
      )}
      {open && <UsageDetail row={open} onClose={() => setOpen(null)} />}
      {changing && (
        <Editor title={t("account.password")} initial={{}} onClose={() => setChanging(false)} save={(body) => api("POST", "/user/password", { body })} onSaved={expire} extra={<p className="text-sm text-muted">{t("account.password.text")}</p>}
          specs={[{ name: "current_password", label: t("account.current"), kind: "secret", required: true, wide: true }, { name: "new_password", label: t("account.new"), kind: "secret", required: true, wide: true }]} />
      )}
    </>
  );
}
