import { Plus, Route as RouteIcon, Tag } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, useRefresh, useRows, words } from "../lib/data";
import { usd } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Alias, Explanation, Model, Provider, Route, User } from "../lib/types";
import { Badge, Button, Card, Empty, Field, PageHead, Tabs, Trouble } from "../ui/base";
import { Confirm } from "../ui/dialog";
import { Editor, type Spec, type Values } from "../ui/form";
import { Table } from "../ui/table";
import { Members, readMembers } from "./members";
import { ModelTable, priceBody, priceSpecs, priceText, priceValues } from "./model-table";
import { DIALECTS } from "./provider-form";
import { Decisions } from "./story";

type Tab = "models" | "aliases" | "routes" | "resolve";

export function ModelsPage() {
  const { t } = usePrefs();
  const [tab, setTab] = useState<Tab>("models");
  return (
    <>
      <PageHead title={t("models.title")} text={t("models.text")} />
      <Tabs label={t("models.title")} value={tab} onChange={setTab} options={(["models", "aliases", "routes", "resolve"] as const).map((value) => ({ value, label: t(`models.${value}`) }))} />
      {tab === "models" && <ModelTable search={new URLSearchParams(location.search).get("q") ?? ""} />}
      {tab === "aliases" && <Aliases />}
      {tab === "routes" && <Routes />}
      {tab === "resolve" && <Resolve />}
    </>
  );
}

function Aliases() {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const source = useRows<Alias>(at("aliases"));
  const providers = useAll<Provider>("providers");
  const models = useAll<Model>("models");
  const [editing, setEditing] = useState<Alias | "new" | null>(null);
  const [deleting, setDeleting] = useState<Alias | null>(null);
  const specs: Spec[] = [
    { name: "alias", label: t("alias.name"), required: true, hint: t("alias.hint"), wide: true },
    { name: "provider_name", label: t("word.provider"), kind: "select", options: (providers.data ?? []).map((each) => ({ value: each.name, label: each.name })) },
    { name: "model_id", label: t("word.model"), required: true, suggest: [...new Set((models.data ?? []).map((each) => each.model_id))] },
    { name: "enabled", label: t("word.enabled"), kind: "switch" }, ...priceSpecs(),
  ];
  const valuesOf = (row: Alias): Values => ({ alias: row.alias, provider_name: row.provider_name, model_id: row.model_id, enabled: row.enabled, ...priceValues(row.pricing) });
  return (
    <Card title={t("models.aliases")} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("alias.add")}</Button>}>
      <Table label={t("models.aliases")} source={source} id={(row) => row.id}
        empty={<Empty icon={<Tag size={22} />} title={t("alias.empty")} text={t("alias.empty.text")} />}
        columns={[
          { head: t("alias.name"), wide: true, cell: (row) => <span className="font-medium">{row.alias}</span> }, { head: t("alias.leads"), wide: true, cell: (row) => <span className="mono">{row.provider_name}/{row.model_id}</span> },
          { head: t("price.head"), from: "md", cell: (row) => priceText(row.pricing) }, { head: t("word.state"), cell: (row) => <Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge> },
          { head: "", right: true, cell: (row) => <span className="flex justify-end gap-1.5"><Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button><Button small look="danger" onClick={() => setDeleting(row)}>{t("do.delete")}</Button></span> },
        ]} />
      {editing && (
        <Editor title={editing === "new" ? t("alias.add") : t("alias.edit")} specs={specs} onClose={() => setEditing(null)} version={editing === "new" ? undefined : editing.version}
          initial={editing === "new" ? { provider_name: providers.data?.[0]?.name ?? "", enabled: true } : valuesOf(editing)}
          save={(body, version) => (editing === "new" ? api("POST", at("aliases"), { body: priceBody(body) }) : api("PATCH", at("aliases", editing.id), { body: priceBody(body), version }))}
          reload={editing === "new" ? undefined : async () => { const row = await api<Alias>("GET", at("aliases", editing.id)); return { values: valuesOf(row), version: row.version }; }} />
      )}
      {deleting && <Confirm what={t("alias.delete")} name={deleting.alias} text={t("alias.delete.text")} onClose={() => setDeleting(null)}
        onDo={async () => { await api("DELETE", at("aliases", deleting.id), { version: deleting.version }); await refresh(); }} />}
    </Card>
  );
}

function Routes() {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const source = useRows<Route>(at("routes"));
  const models = useAll<Model>("models");
  const [editing, setEditing] = useState<Route | "new" | null>(null);
  const [deleting, setDeleting] = useState<Route | null>(null);
  const specs: Spec[] = [
    { name: "name", label: t("word.name"), required: true, hint: t("route.hint"), wide: true },
    { name: "strategy", label: t("route.strategy"), kind: "select", options: ["failover", "weighted", "round_robin", "least_in_flight"].map((value) => ({ value, label: value })) },
    { name: "enabled", label: t("word.enabled"), kind: "switch" },
    { name: "hedge_percentile", label: t("route.hedge"), kind: "number", hint: t("route.hedge.hint"), wide: true, placeholder: "95" },
  ];
  const valuesOf = (row: Route): Values => ({ name: row.name, strategy: row.strategy, enabled: row.enabled, hedge_percentile: row.hedge_percentile?.toString() ?? "", members: JSON.stringify(row.members) });
  // The members are edited below the fields; as one JSON text they take part in saving and merging like any other.
  const members: Spec = { name: "members", label: t("route.members"), kind: "json" };
  return (
    <Card title={t("models.routes")} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("route.add")}</Button>}>
      <Table label={t("models.routes")} source={source} id={(row) => row.id}
        empty={<Empty icon={<RouteIcon size={22} />} title={t("route.empty")} text={t("route.empty.text")} />}
        columns={[
          { head: t("word.name"), wide: true, cell: (row) => <span className="font-medium">{row.name}</span> }, { head: t("route.strategy"), cell: (row) => <>{row.strategy}{row.hedge_percentile !== null && <div className="text-sm text-muted">{t("route.hedged", { n: row.hedge_percentile })}</div>}</> },
          { head: t("route.members"), wide: true, cell: (row) => <ol>{[...row.members].sort((a, b) => a.tier - b.tier).map((each, index) => <li key={index} className="text-sm"><Badge>{t("route.tier.n", { n: each.tier })}</Badge> <span className="mono">{each.provider_name}/{each.model_id}</span> × {each.weight}</li>)}</ol> },
          { head: t("word.state"), from: "sm", cell: (row) => <Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge> },
          { head: "", right: true, cell: (row) => <span className="flex justify-end gap-1.5"><Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button><Button small look="danger" onClick={() => setDeleting(row)}>{t("do.delete")}</Button></span> },
        ]} />
      {editing && (
        <Editor title={editing === "new" ? t("route.add") : t("route.edit")} specs={specs} hidden={[members]} onClose={() => setEditing(null)} version={editing === "new" ? undefined : editing.version}
          initial={editing === "new" ? { strategy: "failover", enabled: true, members: "[]" } : valuesOf(editing)}
          save={(body, version) => (editing === "new" ? api("POST", at("routes"), { body }) : api("PATCH", at("routes", editing.id), { body, version }))}
          reload={editing === "new" ? undefined : async () => { const row = await api<Route>("GET", at("routes", editing.id)); return { values: valuesOf(row), version: row.version }; }}
          extra={(values, set) => <Members models={models.data ?? []} members={readMembers(values["members"])} onChange={(next) => set("members", JSON.stringify(next))} />} />
      )}
      {deleting && <Confirm what={t("route.delete")} name={deleting.name} text={t("route.delete.text")} onClose={() => setDeleting(null)}
        onDo={async () => { await api("DELETE", at("routes", deleting.id), { version: deleting.version }); await refresh(); }} />}
    </Card>
  );
}

/** A dry run: what a name leads to for a user, step by step. */
function Resolve() {
  const { t } = usePrefs();
  const users = useAll<User>("users");
  const [asked, setAsked] = useState({ user: "", model: "", dialect: "openai_chat" });
  const [told, setTold] = useState<Explanation | null>(null);
  const [error, setError] = useState<unknown>(null);
  const user = asked.user || users.data?.[0]?.name || "";
  const ask = async () => {
    setError(null);
    try {
      setTold(await api<Explanation>("POST", "/admin/explain", { body: { ...asked, user } }));
    } catch (problem) {
      setError(problem);
      setTold(null);
      if (!asked.model) say(words(problem), "bad");
    }
  };
  return (
    <Card title={t("models.resolve")}>
      <form className="grid gap-3 p-4 sm:grid-cols-4" onSubmit={(event) => { event.preventDefault(); void ask(); }}>
        <Field label={t("word.user")}><select className="field" value={user} onChange={(event) => setAsked({ ...asked, user: event.target.value })}>{(users.data ?? []).map((each) => <option key={each.id}>{each.name}</option>)}</select></Field>
        <Field label={t("resolve.model")}><input className="field" required value={asked.model} onChange={(event) => setAsked({ ...asked, model: event.target.value })} /></Field>
        <Field label={t("word.dialect")}><select className="field" value={asked.dialect} onChange={(event) => setAsked({ ...asked, dialect: event.target.value })}>{DIALECTS.map((each) => <option key={each}>{each}</option>)}</select></Field>
        <Button look="main" type="submit" className="self-end">{t("resolve.do")}</Button>
      </form>
      {error !== null && <Trouble error={error} />}
      {told && (
        <div className="space-y-4 border-t border-line p-4">
          <p role="status"><Badge tone={told.allowed ? "good" : "bad"}>{told.allowed ? t("resolve.yes") : `${told.status} ${told.code ?? ""}`}</Badge></p>
          <Decisions steps={told.steps} />
          {told.candidates.length > 0 && <ol className="space-y-1">{told.candidates.map((way, index) => <li key={index}><Badge>{say_("route.tier.n", { n: way.tier })}</Badge> <span className="mono">{way.provider_name}/{way.model_id}</span> · {way.support} · {way.cost_bound === null ? t("resolve.unpriced") : t("resolve.bound", { usd: usd(way.cost_bound) })}</li>)}</ol>}
          {told.skipped.length > 0 && <ul className="text-muted">{told.skipped.map((way, index) => <li key={index}><span className="mono">{way.provider_name}/{way.model_id}</span>: {way.reason}</li>)}</ul>}
        </div>
      )}
    </Card>
  );
}
