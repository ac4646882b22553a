/** Models of one provider or all, their prices, and bringing in the vendor's own list. */
import { Boxes, Download, Plus } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, useRefresh, useRows, words } from "../lib/data";
import { count } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Model, Pricing, Provider, Pulled } from "../lib/types";
import { Badge, Button, Card, Code, Empty, Skeleton, Switch, Trouble } from "../ui/base";
import { Confirm, Dialog } from "../ui/dialog";
import { Editor, type Spec, type Values } from "../ui/form";
import { Table } from "../ui/table";
import { useQuery } from "@tanstack/react-query";

/** The everyday price of a card in words: what a million tokens cost. */
export function priceText(pricing: Pricing | null): string {
  if (!pricing) return "–";
  const tier = (pricing["price_tiers"] as Record<string, number>[] | undefined)?.[0];
  const simple = pricing["price"] as Record<string, number> | undefined;
  const [input, output] = simple ? [simple["input"], simple["output"]] : [tier?.["price_input_tokens"], tier?.["price_output_tokens"]];
  const parts = input !== undefined || output !== undefined ? [`$${input ?? 0} / $${output ?? 0}`] : [];
  if (pricing["price_each_call"]) parts.push(say_("price.call", { usd: String(pricing["price_each_call"]) }));
  return parts.join(" + ") || "–";
}

export const priceSpecs = (): Spec[] => [
  { name: "pricing.input", label: say_("price.input"), kind: "number", placeholder: "0.4" },
  { name: "pricing.output", label: say_("price.output"), kind: "number", placeholder: "1.6" },
  { name: "pricing.cache_read", label: say_("price.cached"), kind: "number" },
  { name: "pricing.*", label: say_("price.more"), kind: "json", hint: say_("price.hint") },
];
const SHORT = ["input", "output", "cache_read"];

export function priceValues(pricing: Pricing | null): Values {
  const simple = pricing?.["price"];
  const easy = simple !== null && typeof simple === "object" && Object.keys(simple).every((name) => SHORT.includes(name)) && Object.keys(pricing ?? {}).length === 1;
  if (easy) return Object.fromEntries(SHORT.map((name) => [`pricing.${name}`, (simple as Record<string, unknown>)[name] === undefined ? "" : String((simple as Record<string, unknown>)[name])]));
  return { "pricing.*": pricing ? JSON.stringify(pricing, null, 1) : "" };
}

/** The fields of the form as the API's price fields; nothing given means the bundled price. */
export function priceBody(body: Record<string, unknown>): Record<string, unknown> {
  if (!("pricing" in body)) return body;
  const { input, output, cache_read, ...rest } = body["pricing"] as Record<string, unknown>;
  const simple = Object.fromEntries(Object.entries({ input, output, cache_read }).filter(([, value]) => value !== undefined));
  const made = Object.keys(simple).length ? { ...rest, price: { ...((rest["price"] ?? {}) as object), ...simple } } : rest;
  return { ...body, pricing: Object.keys(made).length ? made : null };
}

const specs = (providers: Provider[]): Spec[] => [
  { name: "provider_name", label: say_("word.provider"), kind: "select", only: "create", options: providers.map((each) => ({ value: each.name, label: each.name })) },
  { name: "model_id", label: say_("model.id"), required: true, hint: say_("model.id.hint") },
  { name: "display_name", label: say_("model.display") },
  { name: "max_output_tokens", label: say_("model.max"), kind: "number" },
  { name: "enabled", label: say_("word.enabled"), kind: "switch" },
  ...priceSpecs(),
];
const valuesOf = (row: Model): Values => ({
  model_id: row.model_id, display_name: row.display_name ?? "", max_output_tokens: row.max_output_tokens?.toString() ?? "", enabled: row.enabled, ...priceValues(row.pricing),
});

export function ModelTable({ provider, search }: { provider?: string; search?: string }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const [typed, setTyped] = useState(search ?? "");
  const source = useRows<Model>(at("models"), { provider_name: provider, q: typed });
  const providers = useAll<Provider>("providers");
  const [editing, setEditing] = useState<Model | "new" | null>(null);
  const [deleting, setDeleting] = useState<Model | null>(null);
  const [pulling, setPulling] = useState<string | null>(null);
  const all = providers.data ?? [];
  return (
    <Card title={t("word.models")} action={
      <span className="flex flex-wrap gap-2">
        <input aria-label={t("do.search")} className="field w-44 text-sm" placeholder={t("do.search")} value={typed} onChange={(event) => setTyped(event.target.value)} />
        {provider && <Button small onClick={() => setPulling(provider)}><Download size={15} aria-hidden />{t("model.pull")}</Button>}
        <Button small look="main" disabled={!all.length} onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("model.add")}</Button>
      </span>
    }>
      <Table
        label={t("word.models")} source={source} id={(row) => row.id}
        empty={<Empty icon={<Boxes size={22} />} title={typed ? t("state.nomatch") : t("model.empty")} text={typed ? undefined : t("model.empty.text")} />}
        columns={[
          { head: t("word.model"), wide: true, cell: (row) => <div><div className="font-medium">{row.model_id}</div>{row.display_name && <div className="text-sm text-muted">{row.display_name}</div>}</div> },
          ...(provider ? [] : [{ head: t("word.provider"), cell: (row: Model) => row.provider_name }]),
          { head: t("price.head"), right: true, cell: (row) => <span className="whitespace-nowrap">{priceText(row.effective_pricing)} <Badge tone={row.price_source === "none" ? "warn" : "plain"}>{t(`price.${row.price_source}`)}</Badge></span> },
          { head: t("model.max"), right: true, from: "lg", cell: (row) => count(row.max_output_tokens) },
          { head: t("word.on"), cell: (row) => <Switch label={`${t("word.enabled")}: ${row.model_id}`} checked={row.enabled} onChange={async (enabled) => {
            try { await api("PATCH", at("models", row.id), { body: { enabled }, version: row.version }); } catch (error) { say(words(error), "bad"); }
            await refresh();
          }} /> },
          { head: "", right: true, cell: (row) => <span className="flex justify-end gap-1.5"><Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button><Button small look="danger" onClick={() => setDeleting(row)}>{t("do.delete")}</Button></span> },
        ]}
      />
      {editing && (
        <Editor title={editing === "new" ? t("model.add") : t("model.edit")} specs={specs(all)} onClose={() => setEditing(null)}
          initial={editing === "new" ? { provider_name: provider ?? all[0]?.name ?? "", enabled: true } : valuesOf(editing)} version={editing === "new" ? undefined : editing.version}
          save={(body, version) => editing === "new" ? api("POST", at("models"), { body: priceBody(body) }) : api("PATCH", at("models", editing.id), { body: priceBody(body), version })}
          reload={editing === "new" ? undefined : async () => { const row = await api<Model>("GET", at("models", editing.id)); return { values: valuesOf(row), version: row.version }; }} />
      )}
      {deleting && <Confirm what={t("model.delete")} name={deleting.model_id} text={t("model.delete.text")} onClose={() => setDeleting(null)}
        onDo={async () => { await api("DELETE", at("models", deleting.id), { version: deleting.version }); await refresh(); }} />}
      {pulling && <Pull provider={pulling} onClose={() => setPulling(null)} />}
    </Card>
  );
}

function Pull({ provider, onClose }: { provider: string; onClose: () => void }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const found = useQuery({ queryKey: ["pull", provider], gcTime: 0, staleTime: Infinity, retry: false, refetchOnWindowFocus: false, queryFn: () => api<Pulled>("POST", "/admin/models/pull", { body: { provider_name: provider } }) });
  const [chosen, setChosen] = useState<Set<string>>(new Set());
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const fresh = found.data?.items.filter((each) => !each.known) ?? [];
  const add = async () => {
    setBusy(true);
    try {
      const wanted = fresh.filter((each) => chosen.has(each.model_id)).slice(0, 500);
      await api("POST", "/admin/models/batch", { body: { operations: wanted.map((each) => ({ op: "create", values: { provider_name: provider, model_id: each.model_id, ...(each.display_name ? { display_name: each.display_name } : {}) } })) } });
      say(t("model.added", { n: wanted.length }));
      onClose(); // first: what is on the screen is read anew, and this list would be asked of the vendor again
      await refresh();
    } catch (problem) {
      setError(words(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog title={t("model.pull.title", { name: provider })} onClose={onClose} foot={<><Button onClick={onClose}>{t("do.cancel")}</Button><Button look="main" disabled={!chosen.size} busy={busy} onClick={add}>{t("model.pull.add", { n: chosen.size })}</Button></>}>
      {found.isPending ? <Skeleton /> : found.error ? <Trouble error={found.error} retry={() => void found.refetch()} /> : (
        <>
          {error && <Code text={error} wrap />}
          <p className="mb-3 text-muted">{t("model.pull.text", { n: found.data.items.length, known: found.data.items.length - fresh.length })}</p>
          {fresh.length > 0 && <Button small onClick={() => setChosen(chosen.size === fresh.length ? new Set() : new Set(fresh.map((each) => each.model_id)))}>{t("do.all")}</Button>}
          <ul className="mt-2">
            {found.data.items.map((each) => (
              <li key={each.model_id}>
                <label className="flex items-center gap-2.5 rounded-lg px-2 py-1.5 hover:bg-raised">
                  <input type="checkbox" disabled={each.known} checked={each.known || chosen.has(each.model_id)} onChange={(event) => { const next = new Set(chosen); if (event.target.checked) next.add(each.model_id); else next.delete(each.model_id); setChosen(next); }} />
                  <span className="min-w-0 flex-1 break-all">{each.model_id}</span>{each.known && <Badge>{t("model.known")}</Badge>}
                </label>
              </li>
            ))}
          </ul>
        </>
      )}
    </Dialog>
  );
}
