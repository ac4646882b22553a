import { useNavigate } from "@tanstack/react-router";
import { Plus, Users } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, useRows } from "../lib/data";
import { count, usd } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import type { Quota, User } from "../lib/types";
import { Badge, BudgetBar, Button, Card, Empty, PageHead } from "../ui/base";
import { Editor, type Spec } from "../ui/form";
import { Table } from "../ui/table";

export const userSpecs = (): Spec[] => [
  { name: "name", label: say_("word.name"), required: true },
  { name: "password", label: say_("signin.password"), kind: "secret", hint: say_("user.password.hint") },
  { name: "is_admin", label: say_("user.admin"), kind: "switch", hint: say_("user.admin.hint") },
  { name: "enabled", label: say_("word.enabled"), kind: "switch" },
];

export function Budget({ row }: { row: Pick<Quota, "quota" | "cost_used" | "reserved" | "remaining"> | undefined }) {
  const { t } = usePrefs();
  if (!row || row.quota === null) return <span className="text-muted">{t("quota.unlimited")}{row ? ` · ${t("quota.used", { usd: usd(row.cost_used) })}` : ""}</span>;
  const text = t("quota.bar", { used: usd(row.cost_used), total: usd(row.quota), reserved: usd(row.reserved), left: usd(row.remaining) });
  return (
    <div className="min-w-40">
      <BudgetBar used={Number(row.cost_used)} reserved={Number(row.reserved)} total={Number(row.quota)} label={text} />
      <div className="nums mt-1 text-xs text-muted">{text}</div>
    </div>
  );
}

export function UsersPage() {
  const { t } = usePrefs();
  const navigate = useNavigate();
  const [typed, setTyped] = useState("");
  const [adding, setAdding] = useState(false);
  const source = useRows<User>(at("users"), { q: typed });
  const quotas = useAll<Quota>("quotas");
  const open = (name: string) => void navigate({ to: "/users/$name" as never, params: { name } as never });
  return (
    <>
      <PageHead title={t("users.title")} text={t("users.text")}><Button look="main" onClick={() => setAdding(true)}><Plus size={16} aria-hidden />{t("users.add")}</Button></PageHead>
      <Card title={t("users.title")} action={<input aria-label={t("do.search")} className="field w-52 text-sm" placeholder={t("do.search")} value={typed} onChange={(event) => setTyped(event.target.value)} />}>
        <Table
          label={t("users.title")} source={source} id={(row) => row.id} onOpen={(row) => open(row.name)}
          empty={<Empty icon={<Users size={22} />} title={typed ? t("state.nomatch") : t("users.empty")} text={typed ? undefined : t("users.empty.text")} />}
          columns={[
            { head: t("word.name"), wide: true, cell: (row) => <button type="button" className="text-left font-medium text-accent hover:underline" onClick={(event) => { event.stopPropagation(); open(row.name); }}>{row.name}</button> },
            { head: t("user.role"), from: "sm", cell: (row) => <Badge tone={row.is_admin ? "accent" : "plain"}>{row.is_admin ? t("user.admin") : t("word.user")}</Badge> },
            { head: t("word.keys"), right: true, from: "sm", cell: (row) => count(row.key_count) },
            { head: t("word.budget"), wide: true, cell: (row) => <Budget row={quotas.data?.find((each) => each.user_id === row.id)} /> },
            { head: t("user.login"), from: "lg", cell: (row) => (row.has_password ? t("word.yes") : t("word.no")) },
            { head: t("word.state"), cell: (row) => <Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge> },
          ]}
        />
      </Card>
      {adding && <Editor title={t("users.add")} specs={userSpecs()} initial={{ enabled: true }} save={(body) => api("POST", at("users"), { body })} onClose={() => setAdding(false)} onSaved={(row) => open((row as User).name)} />}
    </>
  );
}
