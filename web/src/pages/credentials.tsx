/** A provider's pool: how each credential is and why, a test that calls the vendor, and switching off and on. */
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, words } from "../lib/data";
import { count, ms, short } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import type { Channel, Credential, Provider, Tested } from "../lib/types";
import { Badge, Button, Card, cx, Empty, type Tone } from "../ui/base";
import { Editor, type Spec } from "../ui/form";
import { Table } from "../ui/table";
import { HealthTimeline } from "./health-timeline";
import { EnabledSwitch, RowActs, SecretDialogs, useSecretRows } from "./secrets";

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
  { name: "rpm", label: say_("limits.rpm"), kind: "number", hint: say_("credential.cap.hint") },
  { name: "tpm", label: say_("credential.tpm"), kind: "number", hint: say_("credential.cap.hint") },
  { name: "max_in_flight", label: say_("credential.at_once"), kind: "number", hint: say_("credential.cap.hint") },
  { name: "enabled", label: say_("word.enabled"), kind: "switch" },
];
const valuesOf = (row: Credential) => ({
  label: row.label ?? "", weight: String(row.weight), enabled: row.enabled,
  rpm: row.rpm?.toString() ?? "", tpm: row.tpm?.toString() ?? "", max_in_flight: row.max_in_flight?.toString() ?? "",
});

/** How much of its caps a credential uses now: as much of as much as it may. */
function Caps({ row }: { row: Credential }) {
  const { t } = usePrefs();
  const caps = ([["limits.rpm", row.rpm, row.in_use?.requests], ["credential.tpm", row.tpm, row.in_use?.tokens], ["credential.at_once", row.max_in_flight, row.in_use?.in_flight]] as const).filter(([, cap]) => cap !== null);
  if (!caps.length) return <>–</>;
  return <ul className="text-sm">{caps.map(([name, cap, used]) => <li key={name} className={cx("nums", (used ?? 0) >= (cap ?? 0) && "text-warn")}>{count(used ?? 0)} / {count(cap)} <span className="text-muted">{t(name)}</span></li>)}</ul>;
}

export function Credentials({ provider, channel }: { provider: Provider; channel: Channel | undefined }) {
  const { t } = usePrefs();
  const all = useCredentials(provider.name);
  const rows = useSecretRows<Credential>(at("credentials"));
  const { editing, setEditing } = rows;
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
    await rows.refresh();
  };
  return (
    <>
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
          { head: t("credential.caps"), from: "lg", cell: (row) => <Caps row={row} /> },
          { head: t("word.on"), cell: (row) => <EnabledSwitch rows={rows} row={row} name={nameOf(row)} /> },
          { head: "", right: true, cell: (row) => (
            <RowActs rows={rows} row={row} reveal>
              <Button small busy={testing === row.id} onClick={() => void test(row)}>{t("credential.test")}</Button>
              {row.health.state !== "healthy" && <Button small onClick={() => void rows.attempt(() => api("PATCH", at("health", row.id), { body: { state: "healthy" } }))}>{t("health.heal")}</Button>}
            </RowActs>
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
          reload={async () => { const row = await rows.read(editing); return { values: valuesOf(row), version: row.version }; }} />
      )}
      <SecretDialogs rows={rows} title={t("word.credential")} what={t("credential.delete")} text={t("credential.delete.text")} nameOf={nameOf} />
    </Card>
    {(all.data ?? []).length > 0 && <HealthTimeline rows={all.data ?? []} nameOf={nameOf} />}
    </>
  );
}
