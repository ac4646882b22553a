/** What keys and credentials have in common: rows with a secret that are switched, revealed under audit, edited, deleted. */
import { useState, type ReactNode } from "react";

import { api } from "../lib/api";
import { useRefresh, words } from "../lib/data";
import { usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Life } from "../lib/types";
import { Button, Switch } from "../ui/base";
import { Confirm, SecretOnce } from "../ui/dialog";

type Row = Life & { enabled: boolean };

/** The state of a table of them; `path` is the collection's. */
export function useSecretRows<T extends Row>(path: string) {
  const refresh = useRefresh();
  const [editing, setEditing] = useState<T | "new" | null>(null);
  const [deleting, setDeleting] = useState<T | null>(null);
  const [shown, setShown] = useState<string | null>(null);
  const one = (row: T) => `${path}/${encodeURIComponent(row.id)}`;
  /** Do something to a row, say what went wrong, and show what is there now. */
  const attempt = async (act: () => Promise<unknown>) => {
    try {
      await act();
    } catch (error) {
      say(words(error), "bad");
    }
    await refresh();
  };
  return {
    editing, setEditing, deleting, setDeleting, shown, setShown, one, attempt, refresh,
    enable: (row: T, enabled: boolean) => attempt(() => api("PATCH", one(row), { body: { enabled }, version: row.version })),
    read: (row: T) => api<T>("GET", one(row)),
    reveal: (row: T) => attempt(async () => setShown(secretText((await api<{ fields: Record<string, string> }>("POST", `${one(row)}/reveal`)).fields))),
    remove: async (row: T) => {
      await api("DELETE", one(row), { version: row.version });
      await refresh();
    },
  };
}
export type SecretRows<T extends Row> = ReturnType<typeof useSecretRows<T>>;

const secretText = (fields: Record<string, string>) => {
  const all = Object.entries(fields);
  return all.length === 1 ? (all[0]?.[1] ?? "") : all.map(([name, value]) => `${name}: ${value}`).join("\n");
};

export function EnabledSwitch<T extends Row>({ rows, row, name }: { rows: SecretRows<T>; row: T; name: string }) {
  const { t } = usePrefs();
  return <Switch label={`${t("word.enabled")}: ${name}`} checked={row.enabled} onChange={(enabled) => void rows.enable(row, enabled)} />;
}

/** The buttons of a row; `children` come first. */
export function RowActs<T extends Row>({ rows, row, reveal, children }: { rows: SecretRows<T>; row: T; reveal: boolean; children?: ReactNode }) {
  const { t } = usePrefs();
  return (
    <span className="flex justify-end gap-1.5">
      {children}
      {reveal && <Button small onClick={() => void rows.reveal(row)}>{t("do.reveal")}</Button>}
      <Button small onClick={() => rows.setEditing(row)}>{t("do.edit")}</Button>
      <Button small look="danger" onClick={() => rows.setDeleting(row)}>{t("do.delete")}</Button>
    </span>
  );
}

/** What a revealed secret and a deletion ask for. */
export function SecretDialogs<T extends Row>({ rows, title, what, text, nameOf }: { rows: SecretRows<T>; title: string; what: string; text: string; nameOf: (row: T) => string }) {
  const { t } = usePrefs();
  const doomed = rows.deleting;
  return (
    <>
      {rows.shown !== null && <SecretOnce title={title} secret={rows.shown} text={t("secret.audited")} onClose={() => rows.setShown(null)} />}
      {doomed && <Confirm what={what} name={nameOf(doomed)} text={text} onClose={() => rows.setDeleting(null)} onDo={() => rows.remove(doomed)} />}
    </>
  );
}
