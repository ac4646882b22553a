import { Download, Upload } from "lucide-react";
import { useState } from "react";

import { api, send } from "../lib/api";
import { useRead, useRefresh, words } from "../lib/data";
import { count } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Imported, Setting } from "../lib/types";
import { Badge, Button, Card, Code, Empty, Field, PageHead, Switch, Tabs } from "../ui/base";
import { Confirm } from "../ui/dialog";
import { Changes } from "../ui/diff";
import { Editor, type Spec } from "../ui/form";
import { Table } from "../ui/table";
import { download } from "./usage";

export function SettingsPage() {
  const { t } = usePrefs();
  const [tab, setTab] = useState<"settings" | "export" | "import">("settings");
  return (
    <>
      <PageHead title={t("settings.title")} text={t("settings.text")} />
      <Tabs label={t("settings.title")} value={tab} onChange={setTab} options={[{ value: "settings", label: t("word.settings") }, { value: "export", label: t("settings.export") }, { value: "import", label: t("settings.import") }]} />
      {tab === "settings" && <Stored />}
      {tab === "export" && <Export />}
      {tab === "import" && <Import />}
    </>
  );
}

function Stored() {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const [editing, setEditing] = useState<Setting | null>(null);
  const found = useRead<{ items: Setting[] }>("/admin/settings");
  const reset = async (row: Setting) => {
    try {
      await api("DELETE", `/admin/settings/${row.name}`);
      say(t("form.saved"));
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  const flag = (row: Setting) => row.type.length === 1 && row.type[0] === "true or false";
  const specOf = (row: Setting): Spec => ({ name: "value", label: row.name, kind: flag(row) ? "switch" : "text", hint: `${row.text} (${row.type.join(", ")})`, wide: true });
  /** Text as one of the kinds the setting takes. */
  const typed = (row: Setting, value: unknown) =>
    typeof value === "string" && row.type.some((kind) => kind.includes("number")) && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return (
    <Card>
      <Table label={t("settings.title")} id={(row) => row.name} source={{ rows: found.data?.items ?? [], isPending: found.isPending, error: found.error, refetch: found.refetch }} empty={<Empty title={t("word.none")} />}
        columns={[
          { head: t("settings.name"), wide: true, cell: (row) => <div><div className="mono font-medium">{row.name}</div><div className="max-w-xl text-sm text-muted">{row.text}</div></div> },
          { head: t("settings.force"), cell: (row) => <span className="mono">{row.in_force ?? "–"}</span> },
          { head: t("settings.origin"), from: "sm", cell: (row) => <Badge tone={row.origin === "default" ? "plain" : "accent"}>{row.origin}</Badge> },
          { head: t("settings.stored"), from: "md", cell: (row) => <span className="mono">{row.value === null ? "–" : String(row.value)}</span> },
          { head: "", right: true, cell: (row) => <span className="flex justify-end gap-1.5">{row.value !== null && <Button small onClick={() => void reset(row)}>{t("settings.reset")}</Button>}<Button small onClick={() => setEditing(row)}>{t("do.change")}</Button></span> },
        ]} />
      {editing && (
        <Editor title={editing.name} specs={[specOf(editing)]} version={0} initial={{ value: flag(editing) ? editing.value === true || (editing.value === null && editing.in_force === "true") : String(editing.value ?? "") }} onClose={() => setEditing(null)}
          save={(body) => api("PATCH", `/admin/settings/${editing.name}`, { body: { value: typed(editing, body["value"]) } })}
          extra={editing.needs_restart && <p className="text-sm text-warn">{t("settings.restart")}</p>} />
      )}
    </Card>
  );
}

function Export() {
  const { t } = usePrefs();
  const [format, setFormat] = useState<"toml" | "json">("toml");
  const [secrets, setSecrets] = useState(false);
  const [text, setText] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      setText(await (await send("POST", "/admin/export", { body: { format, with_secrets: secrets } })).text());
    } catch (error) {
      say(words(error), "bad");
    }
    setBusy(false);
  };
  return (
    <Card title={t("settings.export")}>
      <div className="space-y-4 p-4">
        <p className="text-muted">{t("export.text")}</p>
        <div className="flex flex-wrap items-end gap-4">
          <Field label={t("export.format")}><select className="field w-28" value={format} onChange={(event) => { setFormat(event.target.value as "toml"); setText(null); }}><option value="toml">TOML</option><option value="json">JSON</option></select></Field>
          <div className="flex items-center gap-2 pb-2"><Switch checked={secrets} onChange={(value) => { setSecrets(value); setText(null); }} label={t("export.secrets")} /><span>{t("export.secrets")}</span></div>
          <Button look="main" busy={busy} onClick={() => void run()}>{t("export.do")}</Button>
          {text !== null && <Button onClick={() => download(`gproxy.${format}`, text, "text/plain")}><Download size={16} aria-hidden />{t("do.download")}</Button>}
        </div>
        {secrets && <p className="text-warn">{t("export.warn")}</p>}
        {text !== null && <Code text={text} />}
      </div>
    </Card>
  );
}

function Import() {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const [text, setText] = useState("");
  const [plan, setPlan] = useState<Imported | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const bring = (dry: boolean) => api<Imported>("POST", "/admin/import", { query: { dry_run: dry }, text, type: text.trimStart().startsWith("{") ? "application/json" : "application/toml" });
  const look = async () => {
    setBusy(true);
    setTrouble(null);
    setPlan(null);
    try {
      setPlan(await bring(true));
    } catch (error) {
      const all = error instanceof Error && "problems" in error ? (error.problems as { field?: string; message: string }[]) : [];
      setTrouble(all.length ? all.map((each) => `${each.field ?? ""} ${each.message}`).join("\n") : words(error));
    }
    setBusy(false);
  };
  return (
    <Card title={t("settings.import")}>
      <div className="space-y-4 p-4">
        <p className="text-muted">{t("import.text")}</p>
        <Field label={t("import.file")}><input className="field" type="file" accept=".toml,.json,text/plain,application/json" onChange={async (event) => { const file = event.target.files?.[0]; if (file) { setText(await file.text()); setPlan(null); } }} /></Field>
        <Field label={t("import.document")}><textarea className="field mono" rows={12} spellCheck={false} value={text} onChange={(event) => { setText(event.target.value); setPlan(null); }} placeholder={'[[providers]]\nname = "main"'} /></Field>
        <Button look="main" disabled={!text.trim()} busy={busy} onClick={() => void look()}><Upload size={16} aria-hidden />{t("import.look")}</Button>
        {trouble && <div role="alert"><p className="mb-1 text-bad">{t("import.bad")}</p><Code wrap text={trouble} /></div>}
        {plan && (
          <div role="status" className="space-y-3">
            <p><Badge tone="good">{t("import.created", { n: count(plan.created) })}</Badge> <Badge tone="warn">{t("import.updated", { n: count(plan.updated) })}</Badge> <Badge>{t("import.same", { n: count(plan.same) })}</Badge></p>
            {plan.diff.length > 0 && <Changes rows={plan.diff} />}
            {!plan.changes.length && <p className="text-muted">{t("import.nothing")}</p>}
            {/* What was spent is the ledger's: it is imported, but is no row of the configuration. */}
            {!plan.diff.length && plan.changes.map((row, index) => <p key={index}><Badge tone="warn">{row.action}</Badge> {row.table} {row.name} <span className="mono text-muted">{row.fields.join(", ")}</span></p>)}
            {plan.changes.length > 0 && <Button look="danger" onClick={() => setAsking(true)}>{t("import.do")}</Button>}
          </div>
        )}
      </div>
      {asking && <Confirm what={t("import.do")} name="import" text={t("import.confirm")} onClose={() => setAsking(false)} onDo={async () => { await bring(false); say(t("import.done")); setPlan(null); setText(""); await refresh(); }} />}
    </Card>
  );
}
