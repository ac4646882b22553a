/** Every write to the configuration, what it changed, and the way back to how things were. */
import { History } from "lucide-react";
import { useState } from "react";

import { api, at } from "../lib/api";
import { useRead, useRefresh, useRows } from "../lib/data";
import { count, moment, short } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import type { Revision, RevisionChange, RevisionRead, RolledBack } from "../lib/types";
import { Badge, Button, Card, Empty, PageHead, Skeleton, Trouble, type Tone } from "../ui/base";
import { Dialog } from "../ui/dialog";
import { Changes } from "../ui/diff";
import { Table } from "../ui/table";

const TONES: Record<string, Tone> = { rollback: "warn", import: "accent" };

export function RevisionsPage() {
  const { t } = usePrefs();
  const [open, setOpen] = useState<Revision | null>(null);
  const source = useRows<Revision>(at("revisions"), {}, { limit: 50, every: 10_000 });
  return (
    <>
      <PageHead title={t("revisions.title")} text={t("revisions.text")} />
      <Card>
        <Table label={t("revisions.title")} source={source} id={(row) => String(row.revision)} onOpen={setOpen}
          empty={<Empty icon={<History size={22} />} title={t("revisions.empty")} text={t("revisions.empty.text")} />}
          columns={[
            { head: t("revisions.number"), cell: (row) => <button type="button" className="nums text-left text-accent hover:underline" onClick={(event) => { event.stopPropagation(); setOpen(row); }}>{row.revision}</button> },
            { head: t("word.when"), cell: (row) => <span className="nums whitespace-nowrap">{short(row.at)}</span> },
            { head: t("audit.who"), wide: true, cell: (row) => <div>{row.actor_name}<div className="text-sm text-muted">{row.address}</div></div> },
            { head: t("audit.what"), from: "sm", cell: (row) => <Badge tone={TONES[row.action]}>{row.action}</Badge> },
            { head: t("revisions.rows"), right: true, cell: (row) => count(row.row_count) },
          ]} />
      </Card>
      {open && <RevisionDetail row={open} latest={source.rows[0]?.revision ?? open.revision} onClose={() => setOpen(null)} />}
    </>
  );
}

function RevisionDetail({ row, latest, onClose }: { row: Revision; latest: number; onClose: () => void }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const found = useRead<RevisionRead>(at("revisions", String(row.revision)));
  const [plan, setPlan] = useState<{ to: number; changes: RevisionChange[] } | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const go = async (to: number, dry: boolean) => {
    setBusy(true);
    setError(null);
    try {
      const done = await api<RolledBack>("POST", `${at("revisions", String(to))}/rollback`, { query: { dry_run: dry } });
      if (dry) setPlan({ to, changes: done.changes });
      else {
        say(t("revisions.done", { n: to, revision: done.revision }));
        onClose();
        await refresh();
      }
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const ask = (to: number) => () => void go(to, true);
  return (
    <Dialog side title={t("revisions.one", { n: row.revision })} onClose={onClose} foot={
      plan ? (
        <>
          <Button onClick={() => setPlan(null)}>{t("do.back")}</Button>
          <Button look="danger" busy={busy} disabled={!plan.changes.length} onClick={() => void go(plan.to, false)}>{t("revisions.go")}</Button>
        </>
      ) : (
        <>
          <Button busy={busy} onClick={ask(row.revision - 1)}>{t("revisions.before")}</Button>
          {row.revision < latest && <Button busy={busy} onClick={ask(row.revision)}>{t("revisions.after")}</Button>}
        </>
      )
    }>
      {error !== null && <Trouble error={error} />}
      {plan ? (
        <>
          <p role="status" className="mb-4 rounded-lg bg-warn-soft p-3 text-warn">{plan.changes.length ? t("revisions.plan", { n: plan.to, rows: plan.changes.length }) : t("revisions.same", { n: plan.to })}</p>
          <Changes rows={plan.changes} />
        </>
      ) : (
        <>
          <p className="mb-4 text-muted">{row.actor_name} · {row.address ?? "–"} · {moment(row.at)} · {row.action}</p>
          {found.isPending ? <Skeleton /> : found.error ? <Trouble error={found.error} retry={() => void found.refetch()} /> : <Changes rows={found.data.changes} />}
        </>
      )}
    </Dialog>
  );
}
