import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useRead, useRefresh } from "../lib/data";
import { usePrefs } from "../lib/prefs";
import type { Channel, Provider } from "../lib/types";
import { Badge, Button, Card, Code, PageHead, Skeleton, Tabs, Trouble } from "../ui/base";
import { Confirm } from "../ui/dialog";
import { Editor } from "../ui/form";
import { Credentials } from "./credentials";
import { ModelTable } from "./model-table";
import { settingSpecs, startSpecs, valuesOf } from "./provider-form";

export function ProviderPage() {
  const { t } = usePrefs();
  const { name } = useParams({ strict: false }) as { name: string };
  const navigate = useNavigate();
  const refresh = useRefresh();
  const [tab, setTab] = useState<"credentials" | "models" | "settings">("credentials");
  const [editing, setEditing] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const found = useRead<Provider>(at("providers", name), {}, { every: 15_000 });
  const channels = useRead<{ items: Channel[] }>("/admin/channels");
  if (found.isPending || channels.isPending) return <Skeleton lines={8} />;
  if (found.error) return <Trouble error={found.error} retry={() => void found.refetch()} />;
  const row = found.data;
  const channel = channels.data?.items.find((each) => each.name === row.channel);
  return (
    <>
      <nav aria-label={t("nav.trail")} className="mb-2 text-sm"><Link to={"/providers" as never} className="text-accent hover:underline">{t("providers.title")}</Link></nav>
      <PageHead title={row.name} text={<span className="flex flex-wrap items-center gap-2"><Badge>{channel?.label ?? row.channel}</Badge><Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge>{row.label}</span>}>
        <Button onClick={() => setEditing(true)}>{t("do.edit")}</Button>
        <Button look="danger" onClick={() => setDeleting(true)}>{t("do.delete")}</Button>
      </PageHead>
      <Tabs label={row.name} value={tab} onChange={setTab} options={[
        { value: "credentials", label: `${t("word.credentials")} (${row.credential_count})` },
        { value: "models", label: `${t("word.models")} (${row.model_count})` },
        { value: "settings", label: t("word.settings") },
      ]} />
      {tab === "credentials" && <Credentials provider={row} channel={channel} />}
      {tab === "models" && <ModelTable provider={row.name} />}
      {tab === "settings" && (
        <Card title={t("word.settings")} action={<Button small onClick={() => setEditing(true)}>{t("do.edit")}</Button>}>
          <div className="space-y-4 p-4">
            <Code text={JSON.stringify(row.settings, null, 2)} />
            {channel && (
              <dl className="grid gap-x-6 gap-y-2 sm:grid-cols-[10rem_1fr]">
                <dt className="text-muted">{t("provider.address")}</dt><dd className="mono">{String(row.settings["base_url"] ?? channel.base_url) || "–"}</dd>
                <dt className="text-muted">{t("provider.native")}</dt><dd>{channel.dialects.join(", ") || "–"}</dd>
                <dt className="text-muted">{t("provider.operations")}</dt><dd>{channel.operations.join(", ")}</dd>
                <dt className="text-muted">{t("provider.scoped")}</dt><dd className="mono">{`${location.origin}/${row.name}/v1/…`}</dd>
              </dl>
            )}
          </div>
        </Card>
      )}
      {editing && (
        <Editor title={t("providers.edit")} specs={startSpecs(channels.data?.items ?? [])} more={() => settingSpecs(channel)} initial={valuesOf(row)} version={row.version} onClose={() => setEditing(false)}
          save={(body, version) => api("PATCH", at("providers", row.id), { body, version })}
          reload={async () => { const now = await api<Provider>("GET", at("providers", row.id)); return { values: valuesOf(now), version: now.version }; }}
          onSaved={(saved) => { const now = saved as Provider; if (now.name !== name) void navigate({ to: "/providers/$name" as never, params: { name: now.name } as never, replace: true }); }} />
      )}
      {deleting && <Confirm what={t("providers.delete")} name={row.name} text={t("providers.delete.text")} onClose={() => setDeleting(false)}
        onDo={async () => { await api("DELETE", at("providers", row.id), { version: row.version }); await navigate({ to: "/providers" as never }); await refresh(); }} />}
    </>
  );
}
