/**
 * Forms described as data. One engine gives every editor the same care: the server's complaints land on their fields,
 * nothing typed is lost when the session ends, and a row that somebody else has changed becomes a choice, not an error.
 */
import { useId, useRef, useState, type ReactElement, type ReactNode } from "react";

import { ApiError } from "../lib/api";
import { useRefresh, words } from "../lib/data";
import { t as say_, usePrefs } from "../lib/prefs";
import { say } from "../lib/toast";
import { Button, cx, Field, Switch } from "./base";
import { Dialog } from "./dialog";

export type Values = Record<string, string | boolean>;
export type Spec = {
  /** A dot puts the value into an object: `settings.base_url`. */
  name: string;
  label: string;
  kind?: "text" | "secret" | "number" | "switch" | "select" | "json" | "area" | "when" | "list";
  hint?: string;
  options?: { value: string; label: string }[];
  suggest?: string[];
  required?: boolean;
  placeholder?: string;
  only?: "create" | "edit";
  wide?: boolean;
};

/** A moment as the browser's own control holds it: local time, to the minute. */
export function whenText(us: number | null): string {
  if (us === null) return "";
  const date = new Date(us / 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function valueOf(spec: Spec, value: string | boolean | undefined): unknown {
  if (spec.kind === "switch") return value === true;
  const text = typeof value === "string" ? value.trim() : "";
  if (spec.kind === "secret") return typeof value === "string" && value !== "" ? value : null;
  if (text === "") return null;
  if (spec.kind === "number") return Number(text);
  if (spec.kind === "when") return new Date(text).getTime() * 1000;
  if (spec.kind === "list") return text.split(/[\s,]+/).filter(Boolean);
  if (spec.kind === "json") {
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      throw new ApiError(400, "invalid_request", `${say_("form.json")} ${error instanceof Error ? error.message : ""}`, spec.name);
    }
  }
  return text;
}

/** What is sent: the named fields only, or all that say something. Values of one object travel together. */
export function assemble(specs: Spec[], values: Values, names?: Set<string>): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const roots = names && new Set([...names].map((name) => name.split(".")[0]));
  for (const spec of specs) {
    const [root, ...rest] = spec.name.split(".") as [string, ...string[]];
    if (roots && !(rest.length ? roots.has(root) : names.has(spec.name))) continue;
    const value = valueOf(spec, values[spec.name]);
    if (rest.length) {
      const table = (made[root] ??= {}) as Record<string, unknown>;
      if (rest[0] === "*") {
        if (value !== null && (typeof value !== "object" || Array.isArray(value))) throw new ApiError(400, "invalid_request", say_("form.table"), spec.name);
        made[root] = { ...((value ?? {}) as object), ...table };
      } else if (value !== null) table[rest.join(".")] = value;
    } else if (names || value !== null) made[spec.name] = value;
  }
  return made;
}

type Props = {
  title: ReactNode;
  specs: Spec[];
  /** Values that take part in everything but are drawn by `extra`. */
  hidden?: Spec[];
  initial: Values;
  /** The row's version; absent for a new row. */
  version?: number;
  save: (body: Record<string, unknown>, version?: number) => Promise<unknown>;
  /** The row as it is now, for when somebody else has changed it. */
  reload?: () => Promise<{ values: Values; version: number }>;
  onClose: () => void;
  onSaved?: (saved: unknown) => void;
  extra?: ReactNode | ((values: Values, set: (name: string, value: string) => void) => ReactNode);
  /** Fields that follow from what has been chosen so far. */
  more?: (values: Values) => Spec[];
};

type Clash = { theirs: Values; version: number; fields: string[]; choice: Record<string, "mine" | "theirs"> };

export function Editor({ title, specs, hidden = [], initial, version, save, reload, onClose, onSaved, extra, more }: Props) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const [values, setValues] = useState(initial);
  const [base, setBase] = useState({ values: initial, version });
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState<Record<string, string>>({});
  const [trouble, setTrouble] = useState<string | null>(null);
  const [clash, setClash] = useState<Clash | null>(null);
  const [leaving, setLeaving] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const formId = useId();
  const creating = version === undefined;
  const shown = [...specs, ...hidden, ...(more?.(values) ?? [])].filter((spec) => !spec.only || (spec.only === "create") === creating);
  const same = (spec: Spec, left: Values, right: Values) => (left[spec.name] ?? (spec.kind === "switch" ? false : "")) === (right[spec.name] ?? (spec.kind === "switch" ? false : ""));
  const changed = shown.filter((spec) => !same(spec, values, base.values));
  const set = (name: string, value: string | boolean) => setValues((before) => ({ ...before, [name]: value }));

  const fail = (error: unknown) => {
    const told: Record<string, string> = {};
    if (error instanceof ApiError) {
      const all = error.problems.length ? error.problems : [{ field: error.field, message: error.message }];
      for (const each of all) {
        const field = each.field ?? "";
        const spec = shown.find((one) => field === one.name) ?? shown.find((one) => one.name.endsWith(".*") && field.startsWith(one.name.slice(0, -1))) ?? shown.find((one) => one.name === field.split(/[.[]/)[0]);
        if (spec && !hidden.some((one) => one.name === spec.name)) told[spec.name] = each.message;
      }
    }
    setProblems(told);
    setTrouble(Object.keys(told).length ? t("form.look") : words(error));
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
  };

  const put = async (mine: Values, against: { values: Values; version?: number }) => {
    setBusy(true);
    setTrouble(null);
    setProblems({});
    try {
      const names = creating ? undefined : new Set(shown.filter((spec) => !same(spec, mine, against.values)).map((spec) => spec.name));
      if (names && !names.size) return onClose();
      const saved = await save(assemble(shown, mine, names), against.version);
      await refresh();
      say(t(creating ? "form.made" : "form.saved"));
      onClose();
      onSaved?.(saved);
    } catch (error) {
      if (error instanceof ApiError && error.status === 412 && reload) {
        try {
          const now = await reload();
          const fields = shown.filter((spec) => !same(spec, mine, now.values)).map((spec) => spec.name);
          setClash({
            theirs: now.values, version: now.version, fields,
            choice: Object.fromEntries(fields.map((name) => [name, mine[name] !== against.values[name] ? "mine" : "theirs"])),
          });
        } catch (again) {
          fail(again);
        }
      } else fail(error);
    } finally {
      setBusy(false);
    }
  };

  const merge = () => {
    if (!clash) return;
    const merged = { ...clash.theirs };
    for (const name of clash.fields) if (clash.choice[name] === "mine") merged[name] = values[name] ?? "";
    setValues(merged);
    setBase({ values: clash.theirs, version: clash.version });
    setClash(null);
    void put(merged, { values: clash.theirs, version: clash.version });
  };

  return (
    <Dialog side title={title} onClose={() => (changed.length && !leaving ? setLeaving(true) : onClose())} foot={
      leaving ? (
        <>
          <span role="alert" className="mr-auto self-center text-sm text-warn">{t("form.unsaved")}</span>
          <Button onClick={() => setLeaving(false)}>{t("form.stay")}</Button>
          <Button look="danger" onClick={onClose}>{t("form.leave")}</Button>
        </>
      ) : clash ? undefined : (
        <>
          <Button onClick={onClose}>{t("do.cancel")}</Button>
          <Button look="main" type="submit" form={formId} busy={busy}>{t(creating ? "do.create" : "do.save")}</Button>
        </>
      )
    }>
      {clash ? (
        <div>
          <p role="alert" className="mb-4 rounded-lg bg-warn-soft p-3 text-warn">{t("clash.text")}</p>
          {clash.fields.map((name) => {
            const spec = shown.find((one) => one.name === name);
            const show = (value: string | boolean | undefined) => (spec?.kind === "secret" ? "••••" : value === true ? t("word.yes") : value === false ? t("word.no") : value || "–");
            return (
              <fieldset key={name} className="mb-3 rounded-lg border border-line p-3">
                <legend className="px-1 text-sm font-medium">{spec?.label}</legend>
                {(["mine", "theirs"] as const).map((who) => (
                  <label key={who} className="flex items-start gap-2 py-1">
                    <input type="radio" name={name} checked={clash.choice[name] === who} onChange={() => setClash({ ...clash, choice: { ...clash.choice, [name]: who } })} />
                    <span className="min-w-0"><span className="text-muted">{t(who === "mine" ? "clash.mine" : "clash.theirs")}: </span><span className="break-all">{show(who === "mine" ? values[name] : clash.theirs[name])}</span></span>
                  </label>
                ))}
              </fieldset>
            );
          })}
          <div className="mt-4 flex justify-end gap-2">
            <Button onClick={() => setClash(null)}>{t("do.back")}</Button>
            <Button look="main" busy={busy} onClick={merge}>{t("clash.save")}</Button>
          </div>
        </div>
      ) : (
        <form id={formId} ref={form} noValidate className="grid grid-cols-1 gap-4 sm:grid-cols-2" onSubmit={(event) => {
          event.preventDefault();
          const missing = shown.filter((spec) => spec.required && !values[spec.name]);
          if (missing.length) {
            setProblems(Object.fromEntries(missing.map((spec) => [spec.name, t("form.required")])));
            requestAnimationFrame(() => form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
          } else void put(values, base);
        }}>
          {trouble && <p role="alert" className="rounded-lg bg-bad-soft p-3 text-bad sm:col-span-2">{trouble}</p>}
          {shown.filter((spec) => !hidden.includes(spec)).map((spec, index) => (
            <Entry key={spec.name} spec={spec} first={index === 0} value={values[spec.name]} set={(value) => set(spec.name, value)} error={problems[spec.name]} />
          ))}
          {extra && <div className="sm:col-span-2">{typeof extra === "function" ? extra(values, set) : extra}</div>}
        </form>
      )}
    </Dialog>
  );
}

function Entry({ spec, value, set, error, first }: { spec: Spec; value: string | boolean | undefined; set: (value: string | boolean) => void; error?: string; first: boolean }) {
  const list = useId();
  const text = typeof value === "string" ? value : "";
  if (spec.kind === "switch")
    return (
      <div className="flex items-center justify-between gap-3 self-center rounded-lg bg-raised px-3 py-2">
        <span className="min-w-0"><span className="text-sm font-medium">{spec.label}</span>{spec.hint && <span className="block text-sm text-muted">{spec.hint}</span>}</span>
        <Switch checked={value === true} onChange={set} label={spec.label} />
      </div>
    );
  const shared = { className: "field", autoFocus: first, name: spec.name, placeholder: spec.placeholder, required: spec.required };
  let control: ReactElement<Record<string, unknown>>;
  if (spec.kind === "select")
    control = (
      <select {...shared} value={text} onChange={(event) => set(event.target.value)}>
        {spec.options?.map((option) => <option key={option.value} value={option.value}>{option.label}</option>)}
      </select>
    );
  else if (spec.kind === "json" || spec.kind === "area")
    control = <textarea {...shared} className={cx("field", spec.kind === "json" && "mono")} rows={spec.kind === "json" ? 5 : 3} spellCheck={false} value={text} onChange={(event) => set(event.target.value)} />;
  else
    control = (
      <input {...shared} type={spec.kind === "secret" ? "password" : spec.kind === "when" ? "datetime-local" : "text"} inputMode={spec.kind === "number" ? "decimal" : undefined}
        autoComplete={spec.kind === "secret" ? "new-password" : "off"} spellCheck={false} list={spec.suggest ? list : undefined} value={text} onChange={(event) => set(event.target.value)} />
    );
  return (
    <>
      <Field label={<>{spec.label}{spec.required && <span className="text-bad" aria-hidden> *</span>}</>} hint={spec.hint} error={error} className={cx((spec.wide || spec.kind === "json" || spec.kind === "area") && "sm:col-span-2")}>{control}</Field>
      {spec.suggest && <datalist id={list}>{spec.suggest.map((each) => <option key={each} value={each} />)}</datalist>}
    </>
  );
}
