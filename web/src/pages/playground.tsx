import { Play, Square } from "lucide-react";
import { useRef, useState } from "react";

import { api } from "../lib/api";
import { useRead, useRefresh, words } from "../lib/data";
import { ms, nowUs } from "../lib/format";
import { usePrefs } from "../lib/prefs";
import { useSession } from "../lib/session";
import type { Key, OwnModel } from "../lib/types";
import { Badge, Button, Card, Code, Field, PageHead, Segmented } from "../ui/base";
import { curl, events, WAYS, type Ask, type Dialect } from "./dialects";
import { StoryButton } from "./story";

const SHOWN = ["x-request-id", "x-gproxy-provider", "x-gproxy-model", "x-gproxy-attempts", "x-gproxy-loss", "x-gproxy-limit", "retry-after", "x-gproxy-cost", "x-gproxy-quota-remaining"];
type Result = { status: number; heads: [string, string][]; first: number | null; total: number | null; events: number };
let kept = ""; // the key lives in this page's memory only, and is gone with a reload

export function PlaygroundPage() {
  const { t } = usePrefs();
  const { me } = useSession();
  const refresh = useRefresh();
  const models = useRead<{ items: OwnModel[] }>("/user/models");
  const [key, setKey] = useState(kept);
  const [ask, setAsk] = useState({ model: "", prompt: t("play.sample"), system: "", most: 512 });
  const [dialect, setDialect] = useState<Dialect>("openai_chat");
  const [form, setForm] = useState<"curl" | "python">("curl");
  const [answer, setAnswer] = useState("");
  const [result, setResult] = useState<Result | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController | null>(null);
  const names = models.data?.items ?? [];
  const model = ask.model || names[0]?.id || "";
  const whole: Ask = { ...ask, model, key: key || "$GPROXY_API_KEY", origin: location.origin };
  const take = (value: string) => { kept = value; setKey(value); };

  const make = async () => {
    try {
      const made = await api<Key>("POST", "/user/keys", { body: { label: "playground", expires_at: nowUs() + 3_600_000_000 } });
      take(made.api_key ?? "");
      await refresh();
    } catch (error) {
      setTrouble(words(error));
    }
  };
  const run = async () => {
    const control = (stop.current = new AbortController());
    const begin = performance.now();
    setBusy(true);
    setAnswer("");
    setTrouble(null);
    setResult(null);
    try {
      const way = WAYS[dialect];
      // The gateway itself is called, as any client would: with the key, and without the console's session.
      const reply = await fetch(way.path(whole), {
        method: "POST", credentials: "omit", signal: control.signal, body: JSON.stringify(way.body(whole)),
        headers: { ...way.head(key.trim()), "content-type": "application/json" },
      });
      const told: Result = { status: reply.status, heads: SHOWN.flatMap((name) => { const value = reply.headers.get(name); return value === null ? [] : [[name, value] as [string, string]]; }), first: null, total: null, events: 0 };
      setResult({ ...told });
      if (!reply.ok || !reply.body) {
        setTrouble((await reply.text()).slice(0, 5000));
      } else {
        for await (const data of events(reply.body)) {
          const event: unknown = JSON.parse(data);
          told.events += 1;
          told.first ??= performance.now() - begin;
          if (event !== null && typeof event === "object" && "error" in event && event.error) setTrouble(data);
          const piece = way.delta(event);
          if (piece) setAnswer((before) => before + piece);
        }
      }
      told.total = performance.now() - begin;
      setResult({ ...told });
    } catch (error) {
      setTrouble(control.signal.aborted ? t("play.stopped") : words(error));
    }
    setBusy(false);
    await refresh();
  };
  return (
    <>
      <PageHead title={t("play.title")} text={t("play.text")} />
      <div className="grid grid-cols-1 gap-4 lg:grid-cols-2">
        <Card title={t("play.ask")}>
          <form className="space-y-4 p-4" onSubmit={(event) => { event.preventDefault(); void run(); }}>
            <div className="flex items-end gap-2">
              <Field className="flex-1" label={t("word.key")} hint={t("play.key.hint")}><input className="field" type="password" autoComplete="off" required value={key} onChange={(event) => take(event.target.value)} placeholder="sk-…" /></Field>
              <Button className="mb-6.5" onClick={() => void make()}>{t("play.key.make")}</Button>
            </div>
            <div className="grid gap-3 sm:grid-cols-2">
              <Field label={t("word.model")} hint={models.data && !names.length ? t("play.nomodels") : undefined}>
                <input className="field" list="play-models" required value={model} onChange={(event) => setAsk({ ...ask, model: event.target.value })} />
              </Field>
              <datalist id="play-models">{names.map((each) => <option key={`${each.kind} ${each.id}`} value={each.id}>{each.kind}</option>)}</datalist>
              <Field label={t("word.dialect")}><select className="field" value={dialect} onChange={(event) => setDialect(event.target.value as Dialect)}>{Object.entries(WAYS).map(([value, way]) => <option key={value} value={value}>{way.label}</option>)}</select></Field>
            </div>
            <Field label={t("play.system")}><input className="field" value={ask.system} onChange={(event) => setAsk({ ...ask, system: event.target.value })} /></Field>
            <Field label={t("play.prompt")}><textarea className="field" rows={4} required value={ask.prompt} onChange={(event) => setAsk({ ...ask, prompt: event.target.value })} /></Field>
            <div className="flex items-end justify-between gap-3">
              <Field label={t("play.most")}><input className="field w-28" type="number" min={1} max={100000} value={ask.most} onChange={(event) => setAsk({ ...ask, most: Math.max(1, Number(event.target.value)) })} /></Field>
              {busy ? <Button onClick={() => stop.current?.abort()}><Square size={15} aria-hidden />{t("play.stop")}</Button> : <Button look="main" type="submit"><Play size={15} aria-hidden />{t("play.send")}</Button>}
            </div>
          </form>
        </Card>
        <div className="min-w-0 space-y-4">
          <Card title={t("play.answer")} action={result && <span className="flex flex-wrap gap-1.5"><Badge tone={result.status < 300 ? "good" : "bad"}>{result.status}</Badge>{result.first !== null && <Badge>{t("play.first", { ms: ms(result.first) })}</Badge>}{result.total !== null && <Badge>{t("play.total", { ms: ms(result.total) })}</Badge>}</span>}>
            <div className="p-4">
              <div aria-live="polite" aria-busy={busy} data-testid="answer" className="min-h-24 break-words whitespace-pre-wrap">{answer || <span className="text-muted">{busy ? t("state.loading") : t("play.none")}</span>}</div>
              {trouble && <div className="mt-3"><p role="alert" className="mb-1 text-bad">{t("play.trouble")}</p><Code wrap text={trouble} /></div>}
              {result && result.heads.length > 0 && <dl className="mt-4 grid grid-cols-[10rem_1fr] gap-x-3 gap-y-1 border-t border-line pt-3 text-sm">{result.heads.map(([name, value]) => <div key={name} className="contents"><dt className="mono text-muted">{name}</dt><dd className="break-all">{value}{name === "x-request-id" && me?.is_admin && result.total !== null && <> · <StoryButton id={value}>{t("detail.happened")}</StoryButton></>}</dd></div>)}</dl>}
            </div>
          </Card>
          <Card title={t("play.same")} action={<Segmented label={t("play.same")} value={form} onChange={setForm} options={[{ value: "curl", label: "curl" }, { value: "python", label: "Python SDK" }]} />}>
            <div className="p-4"><Code wrap text={form === "curl" ? curl(dialect, { ...whole, key: "$GPROXY_API_KEY" }).replace("'authorization: Bearer $GPROXY_API_KEY'", '"authorization: Bearer $GPROXY_API_KEY"').replace("'x-api-key: $GPROXY_API_KEY'", '"x-api-key: $GPROXY_API_KEY"').replace("'x-goog-api-key: $GPROXY_API_KEY'", '"x-goog-api-key: $GPROXY_API_KEY"') : WAYS[dialect].python({ ...whole, key: "sk-…" })} /></div>
          </Card>
        </div>
      </div>
    </>
  );
}
