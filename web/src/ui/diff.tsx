/** What changed: rows, and of each its two states, field by field. */
import { usePrefs } from "../lib/prefs";
import type { RevisionChange } from "../lib/types";
import { Badge, cx, type Tone } from "./base";

type State = Record<string, unknown> | null;
const show = (value: unknown) => (value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));

const TONES: Record<RevisionChange["action"], Tone> = { create: "good", update: "warn", delete: "bad" };
const OPEN = 8; // so many rows are read at a glance

/** Rows that a revision, a way back or an import changes; secrets are dots. */
export function Changes({ rows }: { rows: RevisionChange[] }) {
  const { t } = usePrefs();
  return (
    <ul className="space-y-3" aria-label={t("revisions.rows")}>
      {rows.map((row) => (
        <li key={`${row.resource} ${row.id}`}>
          <details open={rows.length <= OPEN} className="rounded-lg border border-line p-3">
            <summary className="break-all"><Badge tone={TONES[row.action]}>{row.action}</Badge> <span className="text-muted">{row.resource}</span> <span className="font-medium">{row.name}</span></summary>
            <div className="mt-3"><Diff before={row.before} after={row.after} /></div>
          </details>
        </li>
      ))}
    </ul>
  );
}

/** Two states of a row, field by field; what is the same is dimmed. */
export function Diff({ before, after }: { before: State; after: State }) {
  const { t } = usePrefs();
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  if (!names.length) return <p className="text-muted">{t("audit.nodiff")}</p>;
  return (
    <ul className="space-y-2">
      {names.map((name) => {
        const [old, now] = [show(before?.[name]), show(after?.[name])];
        // A secret is dots on both sides; that it is named at all says that it was replaced.
        const same = old === now && !(before && after && old === "…");
        return (
          <li key={name} className={cx("rounded-lg border border-line p-2", same && "text-muted")}>
            <div className="mono text-sm">{name}</div>
            {same ? <div className="break-all">{old || "–"}</div> : (
              <>
                {old && <div className="rounded bg-bad-soft px-1.5 break-all text-bad">− {old}</div>}
                {now && <div className="mt-0.5 rounded bg-good-soft px-1.5 break-all text-good">+ {now}</div>}
              </>
            )}
          </li>
        );
      })}
    </ul>
  );
}
