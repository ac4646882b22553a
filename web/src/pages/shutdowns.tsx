import { Power } from "lucide-react";
import { useState } from "react";

import { at } from "../lib/api";
import { useRows } from "../lib/data";
import { moment, ms, short } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Shutdown } from "../lib/types";
import { Badge, Card, Code, Empty, PageHead } from "../ui/base";
import { Dialog } from "../ui/dialog";
import { Table } from "../ui/table";

const number = (value: unknown) => (typeof value === "number" ? String(value) : "–");

export function ShutdownsPage() {
  const { t } = usePrefs();
  const [open, setOpen] = useState<Shutdown | null>(null);
  const source = useRows<Shutdown>(at("shutdowns"), {}, { limit: 50 });
  const simple = (value: unknown) => value === null || ["string", "number", "boolean"].includes(typeof value) || (Array.isArray(value) && value.every((each) => typeof each === "string"));
  return (
    <>
      <PageHead title={t("shutdowns.title")} text={t("shutdowns.text")} />
      <Card>
        <Table label={t("shutdowns.title")} source={source} id={(row) => row.id} onOpen={setOpen}
          empty={<Empty icon={<Power size={22} />} title={t("shutdowns.empty")} text={t("shutdowns.empty.text")} />}
          columns={[
            { head: t("word.when"), cell: (row) => <button type="button" className="text-left whitespace-nowrap text-accent hover:underline" onClick={(event) => { event.stopPropagation(); setOpen(row); }}>{short(row.at)}</button> },
            { head: t("shutdowns.signal"), cell: (row) => row.signal_name ?? "–" },
            { head: t("shutdowns.exit"), cell: (row) => <Badge tone={row.exit_code === 0 ? "good" : row.exit_code === 75 ? "warn" : "bad"}>{row.exit_code}</Badge> },
            { head: t("shutdowns.took"), right: true, cell: (row) => ms(row.duration_ms) },
            { head: t("shutdowns.inflight"), right: true, from: "sm", cell: (row) => number(row.report["in_flight"] ?? row.report["in_flight_at_start"]) },
            { head: t("shutdowns.cut"), right: true, from: "sm", cell: (row) => number(row.report["cut"]) },
            { head: t("shutdowns.flushed"), right: true, from: "md", cell: (row) => number(row.report["rows_flushed"]) },
            { head: t("shutdowns.left"), right: true, from: "md", cell: (row) => number(row.report["rows_left"]) },
          ]} />
      </Card>
      {open && (
        <Dialog side title={`${open.signal_name ?? "–"} · ${moment(open.at)}`} onClose={() => setOpen(null)}>
          <p className="mb-4 text-muted">{t(open.exit_code === 0 ? "shutdowns.exit0" : open.exit_code === 75 ? "shutdowns.exit75" : "shutdowns.exit70")}</p>
          <dl className="mb-4 grid grid-cols-[12rem_1fr] gap-x-3 gap-y-1">
            {Object.entries(open.report).filter(([, value]) => simple(value)).map(([name, value]) => <div key={name} className="contents"><dt className="mono text-muted">{name}</dt><dd className="break-all">{Array.isArray(value) ? value.join(", ") || "–" : String(value ?? "–")}</dd></div>)}
          </dl>
          {Object.entries(open.report).filter(([, value]) => !simple(value)).map(([name, value]) => <section key={name} className="mb-3"><h3 className="mono mb-1 text-muted">{name}</h3><Code text={JSON.stringify(value, null, 1)} /></section>)}
        </Dialog>
      )}
    </>
  );
}
