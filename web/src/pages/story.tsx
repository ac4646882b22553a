/** What happened to a request: its decisions, limits and budget before and after, credentials, cost, and both its legs. */
import { useState, type ReactNode } from "react";

import { ApiError } from "../lib/api";
import { useRead } from "../lib/data";
import { count, ms, usd } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import type { Happened, Logged, RequestRead, Trail } from "../lib/types";
import { Badge, Code, Empty, Skeleton, Trouble, type Tone } from "../ui/base";
import { Dialog } from "../ui/dialog";

/** The steps of a request, and both its legs where they were logged. What is not there is left out. */
export function Story({ id }: { id: string }) {
  const { t } = usePrefs();
  const path = `/admin/requests/${encodeURIComponent(id)}`;
  const happened = useRead<Happened>(`${path}/explain`);
  const logged = useRead<RequestRead>(path);
  const told = happened.data;
  return (
    <>
      {told && told.steps.length > 0 && (
        <Part head={t("detail.happened")}>
          {told.trail && <Decisions steps={told.trail.steps} />}
          {told.error_text && <p className="mt-2 text-bad">{told.error_text}</p>}
          {told.trail ? <details className="mt-2"><summary className="text-sm text-muted">{t("story.words")}</summary><Lines lines={told.steps} /></details> : <Lines lines={told.steps} />}
        </Part>
      )}
      {told?.trail && <TrailParts trail={told.trail} />}
      {logged.data?.downstream && <Leg head={t("detail.client")} row={logged.data.downstream} />}
      {logged.data?.upstream.map((row) => <Leg key={row.id} head={t("detail.vendor")} row={row} />)}
    </>
  );
}

/** The story by itself: also of a request that was refused before its first attempt, and so has no line in the ledger. */
export function StoryDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const { t } = usePrefs();
  const found = useRead<Happened>(`/admin/requests/${encodeURIComponent(id)}/explain`);
  const unknown = found.error instanceof ApiError && found.error.status === 404;
  return (
    <Dialog side title={t("detail.happened")} onClose={onClose}>
      <p className="mono mb-4 break-all text-muted">{id}</p>
      {found.isPending ? <Skeleton /> : unknown ? <Empty title={t("story.none")} text={t("story.none.text")} /> : found.error ? <Trouble error={found.error} retry={() => void found.refetch()} /> : (
        <>
          {found.data.status !== null && <p className="mb-4"><Badge tone={found.data.status < 400 ? "good" : "bad"}>{found.data.status} {found.data.error ?? ""}</Badge></p>}
          <Story id={id} />
        </>
      )}
    </Dialog>
  );
}

/** Opens the story of a request by its id. */
export function StoryButton({ id, children }: { id: string; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="text-accent hover:underline" onClick={() => setOpen(true)}>{children}</button>
      {open && <StoryDialog id={id} onClose={() => setOpen(false)} />}
    </>
  );
}

/** One line per decision, in their order. */
export function Decisions({ steps }: { steps: Trail["steps"] }) {
  return <ol className="space-y-1">{steps.map((step) => <li key={step.step} className="flex items-baseline gap-2"><span className="w-16 shrink-0"><Badge tone={step.ok ? "good" : "bad"}>{step.step}</Badge></span><span className="min-w-0">{step.text}</span></li>)}</ol>;
}

function Part({ head, children }: { head: string; children: ReactNode }) {
  return <section className="mb-5"><h3 className="mb-1.5 font-semibold">{head}</h3>{children}</section>;
}

const Lines = ({ lines }: { lines: string[] }) => <ol className="mt-1 list-decimal space-y-1 pl-5">{lines.map((line, index) => <li key={index}>{line}</li>)}</ol>;

function TrailParts({ trail }: { trail: Trail }) {
  const { t } = usePrefs();
  const usdOf = (nano: number | null) => (nano === null ? "–" : usd(nano / 1e9));
  const verdictTone = (verdict: string): Tone => (verdict === "ok" ? "good" : verdict ? "bad" : "plain");
  return (
    <>
      {(trail.candidates.length > 0 || trail.skipped.length > 0) && (
        <Part head={trail.route ? t("story.route", { name: trail.route, strategy: trail.strategy ?? "" }) : t("story.places")}>
          <ul className="space-y-1">
            {trail.candidates.map((each, index) => <li key={index}><Badge>{t("route.tier.n", { n: each.tier })}</Badge> <span className="mono">{each.provider_name}/{each.model_id}</span> × {each.weight}</li>)}
            {trail.skipped.map((each, index) => <li key={index} className="text-muted"><Badge tone="warn">{t("story.skipped")}</Badge> <span className="mono">{each.provider_name}/{each.model_id}</span>: {each.reason}</li>)}
          </ul>
        </Part>
      )}
      {trail.credentials.length > 0 && (
        <Part head={t("word.credentials")}>
          <ul className="space-y-1">
            {trail.credentials.map((each, index) => (
              <li key={index}>
                {each.attempt > 0 ? <Badge tone={verdictTone(each.verdict)}>{t("story.attempt", { n: each.attempt })}{each.verdict ? `: ${each.verdict}` : ""}</Badge> : <Badge>{t("story.passed")}</Badge>}{" "}
                <span className="mono">{each.provider_name}/{each.model_id}</span> · <span className="mono text-muted">{each.credential_id}</span>{each.reason ? ` · ${each.reason}` : ""}
              </li>
            ))}
          </ul>
        </Part>
      )}
      {(trail.rate_limits.length > 0 || trail.quota) && (
        <Part head={t("story.limits")}>
          <dl className="grid grid-cols-[9.5rem_1fr] gap-x-3 gap-y-1">
            {trail.rate_limits.map((each) => (
              <div key={`${each.id} ${each.dimension}`} className="contents">
                <dt className="mono text-muted">{each.dimension} {each.model_pattern}</dt>
                <dd className="nums">{t("story.left", { before: count(each.before), after: count(each.after), limit: count(each.limit) })}</dd>
              </div>
            ))}
            {trail.quota && <><dt className="text-muted">{t("word.budget")}</dt><dd className="nums">{t("story.left", { before: usdOf(trail.quota.before), after: usdOf(trail.quota.after), limit: usdOf(trail.quota.quota) })}</dd></>}
          </dl>
        </Part>
      )}
    </>
  );
}

function Leg({ head, row }: { head: string; row: Logged }) {
  const { t } = usePrefs();
  return (
    <details className="mb-3 rounded-lg border border-line p-3">
      <summary className="font-semibold">{head} <Badge>{row.status}</Badge> <span className="text-sm font-normal text-muted">{ms(row.total_ms)}</span></summary>
      <div className="mt-3 space-y-2">
        <Code wrap text={JSON.stringify(row.envelope, null, 1)} />
        {row.request_body !== null && <Code wrap text={row.request_body} />}
        {row.response_body !== null && <Code wrap text={row.response_body} />}
        {row.truncated && <p className="text-sm text-muted">{t("detail.cut")}</p>}
      </div>
    </details>
  );
}
