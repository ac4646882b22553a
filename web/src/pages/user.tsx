import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Plus, ShieldCheck } from "lucide-react";
import { useState, type ReactNode } from "react";

import { api, at } from "../lib/api";
import { useAll, useRead, useRefresh, words } from "../lib/data";
import { count } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { FilePermission, Life, Permission, Provider, Quota, RateLimit, User } from "../lib/types";
import { Badge, Button, Card, Empty, PageHead, Skeleton, Tabs, Trouble } from "../ui/base";
import { Confirm } from "../ui/dialog";
import { assemble, Editor, type Spec, type Values } from "../ui/form";
import { Table, type Column } from "../ui/table";
import { BurnDown } from "./burn-down";
import { Keys } from "./keys";
import { Budget, userSpecs } from "./users";

type Tab = "keys" | "permissions" | "limits" | "files";

export function UserPage() {
  const { t } = usePrefs();
  const { name } = useParams({ strict: false }) as { name: string };
  const navigate = useNavigate();
  const refresh = useRefresh();
  const [tab, setTab] = useState<Tab>("keys");
  const [editing, setEditing] = useState(false);
  const [budget, setBudget] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const found = useRead<User>(at("users", name));
  const quotas = useAll<Quota>("quotas", { user_name: name });
  const providers = useAll<Provider>("providers");
  if (found.isPending) return <Skeleton lines={8} />;
  if (found.error) return <Trouble error={found.error} retry={() => void found.refetch()} />;
  const row = found.data;
  const quota = quotas.data?.find((each) => each.user_id === row.id);
  const valuesOf = (user: User): Values => ({ name: user.name, password: "", is_admin: user.is_admin, enabled: user.enabled });
  const anyProvider = [{ value: "", label: t("word.any") }, ...(providers.data ?? []).map((each) => ({ value: each.name, label: each.name }))];
  return (
    <>
      <nav aria-label={t("nav.trail")} className="mb-2 text-sm"><Link to={"/users" as never} className="text-accent hover:underline">{t("users.title")}</Link></nav>
      <PageHead title={row.name} text={<span className="flex flex-wrap gap-2"><Badge tone={row.is_admin ? "accent" : "plain"}>{row.is_admin ? t("user.admin") : t("word.user")}</Badge><Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge>{!row.has_password && <Badge>{t("user.nologin")}</Badge>}</span>}>
        <Button onClick={() => setEditing(true)}>{t("do.edit")}</Button>
        <Button look="danger" onClick={() => setDeleting(true)}>{t("do.delete")}</Button>
      </PageHead>
      <Card className="mb-4" title={t("word.budget")} action={<Button small onClick={() => setBudget(true)}>{quota ? t("do.change") : t("quota.set")}</Button>}>
        <div className="p-4"><Budget row={quota} />{quota && <BurnDown row={quota} path="/admin/dashboard/series" user={row.id} />}</div>
      </Card>
      <Tabs label={row.name} value={tab} onChange={setTab} options={[
        { value: "keys", label: t("word.keys") }, { value: "permissions", label: t("permissions.title") },
        { value: "limits", label: t("limits.title") }, { value: "files", label: t("files.title") },
      ]} />
      {tab === "keys" && <Keys path="/admin/keys" owner={row.id} />}
      {tab === "permissions" && (
        <Rows<Permission> resource="permissions" user={row} title={t("permissions.title")} add={t("permissions.add")} empty={t("permissions.empty")} emptyText={t("permissions.empty.text")}
          start={{ model_pattern: "*", provider_name: "" }} values={(each) => ({ model_pattern: each.model_pattern, provider_name: each.provider_name ?? "" })} nameOf={(each) => each.model_pattern}
          specs={[{ name: "model_pattern", label: t("word.pattern"), required: true, hint: t("pattern.hint"), wide: true }, { name: "provider_name", label: t("word.provider"), kind: "select", options: anyProvider, wide: true }]}
          columns={[{ head: t("word.pattern"), wide: true, cell: (each) => <code>{each.model_pattern}</code> }, { head: t("word.provider"), cell: (each) => each.provider_name ?? t("word.any") }]} />
      )}
      {tab === "limits" && (
        <Rows<RateLimit> resource="rate_limits" user={row} title={t("limits.title")} add={t("limits.add")} empty={t("limits.empty")} emptyText={t("limits.empty.text")}
          start={{ model_pattern: "*", total_tokens_window: "86400" }} nameOf={(each) => each.model_pattern}
          values={(each) => ({ model_pattern: each.model_pattern, rpm: each.rpm?.toString() ?? "", rpd: each.rpd?.toString() ?? "", total_tokens: each.total_tokens?.toString() ?? "", total_tokens_window: String(each.total_tokens_window) })}
          specs={[
            { name: "model_pattern", label: t("word.pattern"), required: true, hint: t("pattern.hint"), wide: true }, { name: "rpm", label: t("limits.rpm"), kind: "number" }, { name: "rpd", label: t("limits.rpd"), kind: "number" },
            { name: "total_tokens", label: t("limits.tokens"), kind: "number" }, { name: "total_tokens_window", label: t("limits.window"), kind: "number" },
          ]}
          columns={[
            { head: t("word.pattern"), wide: true, cell: (each) => <code>{each.model_pattern}</code> }, { head: t("limits.rpm"), right: true, cell: (each) => count(each.rpm) }, { head: t("limits.rpd"), right: true, cell: (each) => count(each.rpd) },
            { head: t("limits.tokens"), right: true, cell: (each) => (each.total_tokens === null ? "–" : t("limits.per", { n: count(each.total_tokens), hours: count(Math.round(each.total_tokens_window / 360) / 10) })) },
          ]} />
      )}
      {tab === "files" && (
        <Rows<FilePermission> resource="file_permissions" user={row} title={t("files.title")} add={t("files.add")} empty={t("files.empty")} emptyText={t("files.empty.text")}
          start={{ provider_name: providers.data?.[0]?.name ?? "" }} values={(each) => ({ provider_name: each.provider_name })} nameOf={(each) => each.provider_name}
          specs={[{ name: "provider_name", label: t("word.provider"), kind: "select", options: anyProvider.slice(1), wide: true }]}
          columns={[{ head: t("word.provider"), wide: true, cell: (each) => each.provider_name }]} />
      )}
      {editing && (
        <Editor title={t("users.edit")} specs={userSpecs()} initial={valuesOf(row)} version={row.version} onClose={() => setEditing(false)}
          save={(body, version) => api("PATCH", at("users", row.id), { body, version })}
          reload={async () => { const now = await api<User>("GET", at("users", row.id)); return { values: valuesOf(now), version: now.version }; }}
          onSaved={(saved) => { const now = saved as User; if (now.name !== name) void navigate({ to: "/users/$name" as never, params: { name: now.name } as never, replace: true }); }} />
      )}
      {budget && (
        <Editor title={t("word.budget")} specs={[{ name: "quota", label: t("quota.usd"), hint: t("quota.hint"), wide: true }]} initial={{ quota: quota?.quota ?? "" }} version={quota?.version} onClose={() => setBudget(false)}
          save={(body, version) => (quota ? api("PATCH", at("quotas", row.id), { body, version }) : api("POST", at("quotas"), { body: { quota: null, ...body, user_id: row.id } }))}
          reload={async () => { const now = await api<Quota>("GET", at("quotas", row.id)); return { values: { quota: now.quota ?? "" }, version: now.version }; }} />
      )}
      {deleting && <Confirm what={t("users.delete")} name={row.name} text={t("users.delete.text")} onClose={() => setDeleting(false)}
        onDo={async () => { await api("DELETE", at("users", row.id), { version: row.version }); await navigate({ to: "/users" as never }); await refresh(); }} />}
    </>
  );
}

type RowsProps<T extends Life> = {
  resource: string; user: User; title: string; add: string; empty: string; emptyText: string; start: Values;
  specs: Spec[]; columns: Column<T>[]; values: (row: T) => Values; nameOf: (row: T) => string; icon?: ReactNode;
};

/** A user's rows of one kind. They are small, and deleting one is undone by making it again. */
function Rows<T extends Life>({ resource, user, title, add, empty, emptyText, start, specs, columns, values, nameOf }: RowsProps<T>) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const all = useAll<T>(resource, { user_id: user.id });
  const [editing, setEditing] = useState<T | "new" | null>(null);
  const restore = async (row: T) => {
    try {
      await api("POST", at(resource), { body: { ...assemble(specs, values(row)), user_id: user.id } });
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  const remove = async (row: T) => {
    try {
      await api("DELETE", at(resource, row.id), { version: row.version });
      say(say_("state.deleted", { name: nameOf(row) }), "good", () => restore(row));
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  return (
    <Card title={title} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{add}</Button>}>
      <Table label={title} id={(row) => row.id} source={{ rows: all.data ?? [], isPending: all.isPending, error: all.error, refetch: all.refetch }}
        empty={<Empty icon={<ShieldCheck size={22} />} title={empty} text={emptyText}><Button look="main" onClick={() => setEditing("new")}>{add}</Button></Empty>}
        columns={[...columns, { head: "", right: true, cell: (row) => <span className="flex justify-end gap-1.5"><Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button><Button small look="danger" onClick={() => void remove(row)}>{t("do.delete")}</Button></span> }]} />
      {editing && (
        <Editor title={editing === "new" ? add : title} specs={specs} initial={editing === "new" ? start : values(editing)} version={editing === "new" ? undefined : editing.version} onClose={() => setEditing(null)}
          save={(body, version) => (editing === "new" ? api("POST", at(resource), { body: { ...body, user_id: user.id } }) : api("PATCH", at(resource, editing.id), { body, version }))}
          reload={editing === "new" ? undefined : async () => { const row = await api<T>("GET", at(resource, editing.id)); return { values: values(row), version: row.version }; }} />
      )}
    </Card>
  );
}
