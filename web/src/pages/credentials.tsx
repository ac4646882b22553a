/** A provider's pool: how each credential is and why, a test that calls the vendor, and switching off and on. */
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, useRefresh, words } from "../lib/data";
import { ms, short } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Channel, Credential, Provider, Tested } from "../lib/types";
import { Badge, Button, Card, Empty, Switch, type Tone } from "../ui/base";
import { Confirm, SecretOnce } from "../ui/dialog";
import { Editor, type Spec } from "../ui/form";
import { Table } from "../ui/table";

export const useCredentials = (provider?: string) => useAll<Credential>("credentials", { provider_name: provider });
const TONES: Record<string, Tone> = { healthy: "good", cooldown: "warn", disabled: "bad" };

export function HealthBadges({ rows }: { rows: Credential[] }) {
  const { t } = usePrefs();
  if (!rows.length) return <Badge>{t("word.none")}</Badge>;
  const states = { healthy: 0, cooldown: 0, disabled: 0 };
  for (const row of rows) states[row.enabled ? row.health.state : "disabled"] += 1;
  return (
    <span className="flex flex-wrap gap-1">
      {(["healthy", "cooldown", "disabled"] as const).filter((state) => states[state]).map((state) => <Badge key={state} tone={TONES[state]}>{t(`health.n.${state}`, { n: states[state] })}</Badge>)}
    </span>
  );
}

const secretSpecs = (channel: Channel | undefined): Spec[] => {
  const sets = channel?.credential_fields.filter((set) => set.length) ?? [["api_key"]];
  const names = [...new Set([...sets.flat(), ...(channel?.optional_fields ?? [])])];
  const hint = sets.length > 1 ? say_("credential.sets", { sets: sets.map((set) => set.join(" + ")).join(" / ") }) : undefined;
  return names.map((name, index) => ({
    name: `fields.${name}`, label: name, kind: name === "service_account" || name === "private_key" ? "area" : "secret", wide: true,
    hint: index === 0 ? hint : undefined,
  }));
};
const common = (): Spec[] => [
  { name: "label", label: say_("word.label"), hint: say_("credential.label.hint") },
  { name: "weight", label: say_("word.weight"), kind: "number", hint: say_("credential.weight.hint") },
  { name: "enabled", label: say_("word.enabled"), kind: "switch" },
];
const valuesOf = (row: Credential) => ({ label: row.label ?? "", weight: String(row.weight), enabled: row.enabled });

export function Credentials({ provider, channel }: { provider: Provider; channel: Channel | undefined }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const all = useCredentials(provider.name);
  const [editing, setEditing] = useState<Credential | "new" | null>(null);
  const [deleting, setDeleting] = useState<Credential | null>(null);
  const [shown, setShown] = useState<string | null>(null);
  const [testing, setTesting] = useState<string | null>(null);
  const [tested, setTested] = useState<Record<string, Tested | string>>({});
  const nameOf = (row: Credential) => row.label ?? Object.values(row.fields ?? {})[0] ?? row.id;

  const test = async (row: Credential) => {
    setTesting(row.id);
    try {
      const found = await api<Tested>("POST", `${at("credentials", row.id)}/test`);
      setTested((before) => ({ ...before, [row.id]: found }));
    } catch (error) {
      setTested((before) => ({ ...before, [row.id]: words(error) }));
    }
    setTesting(null);
    await refresh();
  };
  const change = async (act: () => Promise<unknown>) => {
    try {
      await act();
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  return (
    <Card title={t("word.credentials")} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("credential.add")}</Button>}>
      <Table
        label={t("word.credentials")} id={(row) => row.id}
        source={{ rows: all.data ?? [], isPending: all.isPending, error: all.error, refetch: all.refetch }}
        empty={<Empty icon={<KeyRound size={22} />} title={t("credential.empty")} text={channel?.keyless ? t("credential.keyless") : t("credential.empty.text")}><Button look="main" onClick={() => setEditing("new")}>{t("credential.add")}</Button></Empty>}
        columns={[
          { head: t("word.credential"), wide: true, cell: (row) => (
            <div className="min-w-0">
              <div className="font-medium">{row.label ?? <span className="text-muted">{t("word.unnamed")}</span>}</div>
              <div className="mono text-muted">{row.fields === null ? t("credential.sealed") : Object.entries(row.fields).map(([name, value]) => `${name}: ${value}`).join(" · ")}</div>
            </div>
          ) },
          { head: t("word.health"), wide: true, cell: (row) => {
            const result = tested[row.id];
            return (
              <div className="space-y-1">
                <Badge tone={TONES[row.health.state]}>{t(`health.${row.health.state}`)}</Badge>
                {row.health.until !== null && row.health.state === "cooldown" && <span className="ml-2 text-sm text-muted">{t("health.until", { at: short(row.health.until) })}</span>}
                {row.health.reason && <div className="text-sm text-muted">{row.health.reason}</div>}
                {result !== undefined && (
                  <div role="status" className={`text-sm ${typeof result !== "string" && result.ok ? "text-good" : "text-bad"}`}>
                    {typeof result === "string" ? result : result.ok ? t("credential.ok", { n: result.models ?? 0, ms: ms(result.latency_ms) }) : `${result.status ?? ""} ${result.reason}`}
                  </div>
                )}
              </div>
            );
          } },
          { head: t("word.weight"), right: true, from: "md", cell: (row) => row.weight },
          { head: t("word.on"), cell: (row) => <Switch label={`${t("word.enabled")}: ${nameOf(row)}`} checked={row.enabled} onChange={(enabled) => void change(() => api("PATCH", at("credentials", row.id), { body: { enabled }, version: row.version }))} /> },
          { head: "", right: true, cell: (row) => (
            <span className="flex justify-end gap-1.5">
              <Button small busy={testing === row.id} onClick={() => void test(row)}>{t("credential.test")}</Button>
              {row.health.state !== "healthy" && <Button small onClick={() => void change(() => api("PATCH", at("health", row.id), { body: { state: "healthy" } }))}>{t("health.heal")}</Button>}
              <Button small onClick={() => void change(async () => setShown(Object.entries((await api<{ fields: Record<string, string> }>("POST", `${at("credentials", row.id)}/reveal`)).fields).map(([name, value]) => `${name}: ${value}`).join("\n")))}>{t("do.reveal")}</Button>
              <Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button>
              <Button small look="danger" onClick={() => setDeleting(row)}>{t("do.delete")}</Button>
            </span>
          ) },
        ]}
      />
      {editing === "new" && (
        <Editor title={t("credential.add")} specs={[...secretSpecs(channel), ...common()]} initial={{ weight: "1", enabled: true }} onClose={() => setEditing(null)}
          save={(body) => api("POST", at("credentials"), { body: { fields: {}, ...body, provider_id: provider.id } })} />
      )}
      {editing && editing !== "new" && (
        <Editor title={t("credential.edit")} specs={[...common(), ...secretSpecs(channel).map((spec) => ({ ...spec, hint: t("credential.keep") }))]} version={editing.version}
          initial={valuesOf(editing)} onClose={() => setEditing(null)}
          save={(body, version) => api("PATCH", at("credentials", editing.id), { body, version })}
          reload={async () => { const row = await api<Credential>("GET", at("credentials", editing.id)); return { values: valuesOf(row), version: row.version }; }} />
      )}
      {shown !== null && <SecretOnce title={t("word.credential")} secret={shown} text={t("secret.audited")} onClose={() => setShown(null)} />}
      {deleting && <Confirm what={t("credential.delete")} name={nameOf(deleting)} text={t("credential.delete.text")} onClose={() => setDeleting(null)}
        onDo={async () => { await api("DELETE", at("credentials", deleting.id), { version: deleting.version }); await refresh(); }} />}
    </Card>
  );
}
