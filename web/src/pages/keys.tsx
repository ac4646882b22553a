/** API keys of one user: made, shown once, switched off, replaced, deleted. For an administrator and for their owner. */
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";

import { api } from "../lib/api";
import { useRefresh, useRows, words } from "../lib/data";
import { short } from "../lib/format";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Key } from "../lib/types";
import { Badge, Button, Card, Code, Empty, Switch } from "../ui/base";
import { Confirm, SecretOnce } from "../ui/dialog";
import { Editor, whenText, type Spec } from "../ui/form";
import { Table } from "../ui/table";

const specs = (): Spec[] => [
  { name: "label", label: say_("word.label"), hint: say_("key.label.hint") },
  { name: "expires_at", label: say_("key.expires"), kind: "when", hint: say_("key.expires.hint") },
];
const valuesOf = (row: Key) => ({ label: row.label ?? "", expires_at: whenText(row.expires_at) });

export function Keys({ path, owner }: { path: "/admin/keys" | "/user/keys"; owner?: string }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const source = useRows<Key>(path, owner ? { user_id: owner } : {});
  const [editing, setEditing] = useState<Key | "new" | null>(null);
  const [deleting, setDeleting] = useState<Key | null>(null);
  const [made, setMade] = useState<Key | null>(null);
  const [rotated, setRotated] = useState(false);
  const [shown, setShown] = useState<string | null>(null);
  const admin = path === "/admin/keys";
  const one = (row: Key) => `${path}/${row.id}`;
  const attempt = async (act: () => Promise<unknown>) => {
    try {
      await act();
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  return (
    <Card title={t("word.keys")} action={<Button small look="main" onClick={() => setEditing("new")}><Plus size={15} aria-hidden />{t("key.add")}</Button>}>
      <Table
        label={t("word.keys")} source={source} id={(row) => row.id}
        empty={<Empty icon={<KeyRound size={22} />} title={t("key.empty")} text={t("key.empty.text")}><Button look="main" onClick={() => setEditing("new")}>{t("key.add")}</Button></Empty>}
        columns={[
          { head: t("word.key"), wide: true, cell: (row) => <div><div className="mono">{row.masked}</div>{row.label && <div className="text-sm text-muted">{row.label}</div>}</div> },
          { head: t("key.expires"), from: "sm", cell: (row) => (row.expires_at === null ? t("key.never") : row.expires_at < Date.now() * 1000 ? <Badge tone="bad">{t("key.expired")}</Badge> : short(row.expires_at)) },
          { head: t("word.created"), from: "lg", cell: (row) => short(row.created_at) },
          { head: t("word.on"), cell: (row) => <Switch label={`${t("word.enabled")}: ${row.masked}`} checked={row.enabled} onChange={(enabled) => void attempt(() => api("PATCH", one(row), { body: { enabled }, version: row.version }))} /> },
          { head: "", right: true, cell: (row) => (
            <span className="flex justify-end gap-1.5">
              <Button small onClick={() => void attempt(async () => { setMade(await api<Key>("POST", `${one(row)}/rotate`, { body: { overlap_secs: 3600 } })); setRotated(true); })}>{t("key.rotate")}</Button>
              {admin && <Button small onClick={() => void attempt(async () => setShown(Object.values((await api<{ fields: Record<string, string> }>("POST", `${one(row)}/reveal`)).fields).join("\n")))}>{t("do.reveal")}</Button>}
              <Button small onClick={() => setEditing(row)}>{t("do.edit")}</Button>
              <Button small look="danger" onClick={() => setDeleting(row)}>{t("do.delete")}</Button>
            </span>
          ) },
        ]}
      />
      {editing && (
        <Editor title={editing === "new" ? t("key.add") : t("key.edit")} specs={specs()} initial={editing === "new" ? {} : valuesOf(editing)} version={editing === "new" ? undefined : editing.version}
          save={(body, version) => (editing === "new" ? api("POST", path, { body: owner ? { ...body, user_id: owner } : body }) : api("PATCH", one(editing), { body, version }))}
          reload={editing === "new" ? undefined : async () => { const row = await api<Key>("GET", one(editing)); return { values: valuesOf(row), version: row.version }; }}
          onClose={() => setEditing(null)} onSaved={(row) => { if ((row as Key).api_key) setMade(row as Key); }} />
      )}
      {made?.api_key && (
        <SecretOnce title={t("key.made")} secret={made.api_key} onClose={() => { setMade(null); setRotated(false); }}>
          {rotated && <p className="mt-3 text-warn">{t("key.rotated")}</p>}
          <p className="mt-4 mb-1.5 text-sm text-muted">{t("key.try")}</p>
          <Code wrap text={`curl ${location.origin}/v1/models -H 'Authorization: Bearer ${made.api_key}'`} />
        </SecretOnce>
      )}
      {shown !== null && <SecretOnce title={t("word.key")} secret={shown} text={t("secret.audited")} onClose={() => setShown(null)} />}
      {deleting && <Confirm what={t("key.delete")} name={deleting.label ?? deleting.masked} text={t("key.delete.text")} onClose={() => setDeleting(null)}
        onDo={async () => { await api("DELETE", one(deleting), { version: deleting.version }); await refresh(); }} />}
    </Card>
  );
}
