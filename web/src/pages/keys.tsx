/** API keys of one user: made, shown once, switched off, replaced, deleted. For an administrator and for their owner. */
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";

import { api } from "../lib/api";
import { useRows } from "../lib/data";
import { short } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import type { Key } from "../lib/types";
import { Badge, Button, Card, Code, Empty } from "../ui/base";
import { SecretOnce } from "../ui/dialog";
import { Editor, whenText, type Spec } from "../ui/form";
import { Table } from "../ui/table";
import { EnabledSwitch, RowActs, SecretDialogs, useSecretRows } from "./secrets";

const specs = (): Spec[] => [
  { name: "label", label: say_("word.label"), hint: say_("key.label.hint") },
  { name: "expires_at", label: say_("key.expires"), kind: "when", hint: say_("key.expires.hint") },
];
const valuesOf = (row: Key) => ({ label: row.label ?? "", expires_at: whenText(row.expires_at) });

export function Keys({ path, owner }: { path: "/admin/keys" | "/user/keys"; owner?: string }) {
  const { t } = usePrefs();
  const source = useRows<Key>(path, owner ? { user_id: owner } : {});
  const rows = useSecretRows<Key>(path);
  const { editing, setEditing } = rows;
  const [made, setMade] = useState<Key | null>(null);
  const [rotated, setRotated] = useState(false);
  const rotate = (row: Key) => rows.attempt(async () => { setMade(await api<Key>("POST", `${rows.one(row)}/rotate`, { body: { overlap_secs: 3600 } })); setRotated(true); });
  return (
    <Card title={t("word.keys")} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("key.add")}</Button>}>
      <Table
        label={t("word.keys")} source={source} id={(row) => row.id}
        empty={<Empty icon={<KeyRound size={22} />} title={t("key.empty")} text={t("key.empty.text")}><Button look="main" onClick={() => setEditing("new")}>{t("key.add")}</Button></Empty>}
        columns={[
          { head: t("word.key"), wide: true, cell: (row) => <div><div className="mono">{row.masked}</div>{row.label && <div className="text-sm text-muted">{row.label}</div>}</div> },
          { head: t("key.expires"), from: "sm", cell: (row) => (row.expires_at === null ? t("key.never") : row.expires_at < Date.now() * 1000 ? <Badge tone="bad">{t("key.expired")}</Badge> : short(row.expires_at)) },
          { head: t("key.used"), from: "md", cell: (row) => (row.last_used_at ? short(row.last_used_at) : "–") },
          { head: t("word.created"), from: "lg", cell: (row) => short(row.created_at) },
          { head: t("word.on"), cell: (row) => <EnabledSwitch rows={rows} row={row} name={row.masked} /> },
          { head: "", right: true, cell: (row) => <RowActs rows={rows} row={row} reveal={path === "/admin/keys"}><Button small onClick={() => void rotate(row)}>{t("key.rotate")}</Button></RowActs> },
        ]}
      />
      {editing && (
        <Editor title={editing === "new" ? t("key.add") : t("key.edit")} specs={specs()} initial={editing === "new" ? {} : valuesOf(editing)} version={editing === "new" ? undefined : editing.version}
          save={(body, version) => (editing === "new" ? api("POST", path, { body: owner ? { ...body, user_id: owner } : body }) : api("PATCH", rows.one(editing), { body, version }))}
          reload={editing === "new" ? undefined : async () => { const row = await rows.read(editing); return { values: valuesOf(row), version: row.version }; }}
          onClose={() => setEditing(null)} onSaved={(row) => { if ((row as Key).api_key) setMade(row as Key); }} />
      )}
      {made?.api_key && (
        <SecretOnce title={t("key.made")} secret={made.api_key} onClose={() => { setMade(null); setRotated(false); }}>
          {rotated && <p className="mt-3 text-warn">{t("key.rotated")}</p>}
          <p className="mt-4 mb-1.5 text-sm text-muted">{t("key.try")}</p>
          <Code wrap text={`curl ${location.origin}/v1/models -H 'Authorization: Bearer ${made.api_key}'`} />
        </SecretOnce>
      )}
      <SecretDialogs rows={rows} title={t("word.key")} what={t("key.delete")} text={t("key.delete.text")} nameOf={(row) => row.label ?? row.masked} />
    </Card>
  );
}
