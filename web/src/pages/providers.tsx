import { useNavigate } from "@tanstack/react-router";
import { Network, Plus } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useAll, useRead, useRows } from "../lib/data";
import { count } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Channel, Provider } from "../lib/types";
import { Badge, Button, Card, Empty, PageHead } from "../ui/base";
import { Editor } from "../ui/form";
import { Table } from "../ui/table";
import { HealthBadges, useCredentials } from "./credentials";
import { startSpecs, settingSpecs } from "./provider-form";

export function ProvidersPage() {
  const { t } = usePrefs();
  const navigate = useNavigate();
  const [adding, setAdding] = useState(false);
  const source = useRows<Provider>(at("providers"), {}, { every: 30_000 });
  const credentials = useCredentials();
  const open = (name: string) => void navigate({ to: "/providers/$name" as never, params: { name } as never });
  return (
    <>
      <PageHead title={t("providers.title")} text={t("providers.text")}>
        <Button look="main" onClick={() => setAdding(true)}><Plus size={16} aria-hidden />{t("providers.add")}</Button>
      </PageHead>
      <Card>
        <Table
          label={t("providers.title")} source={source} id={(row) => row.id} onOpen={(row) => open(row.name)}
          empty={<Empty icon={<Network size={22} />} title={t("providers.empty")} text={t("providers.empty.text")}><Button look="main" onClick={() => setAdding(true)}>{t("providers.add")}</Button></Empty>}
          columns={[
            { head: t("word.name"), wide: true, cell: (row) => <button type="button" className="text-left font-medium text-accent hover:underline" onClick={(event) => { event.stopPropagation(); open(row.name); }}>{row.name}</button> },
            { head: t("word.channel"), cell: (row) => row.channel },
            { head: t("word.label"), from: "md", cell: (row) => <span className="text-muted">{row.label ?? ""}</span> },
            { head: t("word.credentials"), cell: (row) => <HealthBadges rows={(credentials.data ?? []).filter((each) => each.provider_id === row.id)} /> },
            { head: t("word.models"), right: true, from: "sm", cell: (row) => count(row.model_count) },
            { head: t("word.state"), cell: (row) => <Badge tone={row.enabled ? "good" : "plain"}>{row.enabled ? t("word.on") : t("word.off")}</Badge> },
          ]}
        />
      </Card>
      {adding && <AddProvider onClose={() => setAdding(false)} onSaved={(row) => open(row.name)} />}
    </>
  );
}

function AddProvider({ onClose, onSaved }: { onClose: () => void; onSaved: (row: Provider) => void }) {
  const { t } = usePrefs();
  const channels = useRead<{ items: Channel[] }>("/admin/channels");
  const others = useAll<Provider>("providers");
  if (!channels.data) return null;
  const all = channels.data.items;
  const first = all.find((each) => each.name === "openai") ?? all[0];
  return (
    <Editor
      title={t("providers.add")}
      specs={startSpecs(all)}
      more={(values) => settingSpecs(all.find((each) => each.name === values["channel"]))}
      initial={{ name: others.data?.length ? "" : (first?.name ?? ""), channel: first?.name ?? "", enabled: true, "settings.dialect": "openai_chat", "settings.rotation": "", "settings.on_disconnect": "", "settings.loss": "" }}
      save={(body) => {
        const settings = (body["settings"] ?? {}) as Record<string, unknown>;
        if (body["channel"] !== "custom") delete settings["dialect"];
        return api("POST", at("providers"), { body: { ...body, settings } });
      }}
      onClose={onClose}
      onSaved={(row) => onSaved(row as Provider)}
    />
  );
}
