import { BookOpen } from "lucide-react";
import { useState } from "react";

import { at } from "../lib/api";
import { useRows } from "../lib/data";
import { moment, short } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Audit } from "../lib/types";
import { Badge, Card, Empty, Field, PageHead } from "../ui/base";
import { Dialog } from "../ui/dialog";
import { Diff } from "../ui/diff";
import { Table } from "../ui/table";

const RESOURCES = ["providers", "credentials", "models", "aliases", "routes", "users", "keys", "permissions", "file_permissions", "rate_limits", "quotas", "settings", "health", "configuration"];

export function AuditPage() {
  const { t } = usePrefs();
  const [open, setOpen] = useState<Audit | null>(null);
  const [resource, setResource] = useState("");
  const [actor, setActor] = useState("");
  const source = useRows<Audit>(at("audit"), { resource, actor_name: actor.trim() }, { limit: 50 });
  return (
    <>
      <PageHead title={t("audit.title")} text={t("audit.text")} />
      <Card>
        <div className="grid grid-cols-2 gap-3 border-b border-line p-4 lg:grid-cols-4">
          <Field label={t("audit.resource")}><select className="field" value={resource} onChange={(event) => setResource(event.target.value)}><option value="">{t("word.all")}</option>{RESOURCES.map((each) => <option key={each}>{each}</option>)}</select></Field>
          <Field label={t("audit.who")}><input className="field" value={actor} onChange={(event) => setActor(event.target.value)} /></Field>
        </div>
        <Table label={t("audit.title")} source={source} id={(row) => row.id} onOpen={setOpen}
          empty={<Empty icon={<BookOpen size={22} />} title={t("audit.empty")} />}
          columns={[
            { head: t("word.when"), cell: (row) => <button type="button" className="text-left whitespace-nowrap text-accent hover:underline" onClick={(event) => { event.stopPropagation(); setOpen(row); }}>{short(row.at)}</button> },
            { head: t("audit.who"), cell: (row) => <div>{row.actor_name}<div className="text-sm text-muted">{row.address}</div></div> },
            { head: t("audit.what"), cell: (row) => <Badge tone={row.action === "delete" ? "bad" : row.action === "create" ? "good" : "plain"}>{row.action}</Badge> },
            { head: t("audit.resource"), cell: (row) => row.resource },
            { head: t("audit.which"), from: "md", wide: true, cell: (row) => nameOf(row) },
          ]} />
      </Card>
      {open && (
        <Dialog side title={`${open.action} · ${open.resource}`} onClose={() => setOpen(null)}>
          <p className="mb-3 text-muted">{open.actor_name} · {open.address ?? "–"} · {moment(open.at)}</p>
          <p className="mono mb-4 break-all">{open.resource_id ?? "–"}</p>
          <Diff before={open.before} after={open.after} />
        </Dialog>
      )}
    </>
  );
}

function nameOf(row: Audit): string {
  const shown = { ...row.before, ...row.after };
  const name = shown["name"] ?? shown["alias"] ?? shown["model_id"] ?? shown["label"] ?? shown["model_pattern"] ?? row.resource_id;
  return typeof name === "string" ? name : "–";
}
