/** The small parts every page is made of: buttons, badges, cards, fields, and the states between. */
import { Check, Copy, Loader2 } from "lucide-react";
import { useId, useState, type ButtonHTMLAttributes, type ReactElement, type ReactNode } from "react";
import { cloneElement } from "react";

import { words } from "../lib/data";
import { usePrefs } from "../lib/prefs";

export const cx = (...parts: (string | false | null | undefined)[]) => parts.filter(Boolean).join(" ");

type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & { look?: "main" | "plain" | "ghost" | "danger"; small?: boolean; busy?: boolean };

const LOOKS = {
  main: "bg-accent text-accent-ink border-transparent hover:opacity-90",
  plain: "bg-panel border-line hover:bg-raised",
  ghost: "border-transparent hover:bg-raised",
  danger: "bg-panel text-bad border-bad hover:bg-bad-soft",
};

export function Button({ look = "plain", small, busy, className, children, disabled, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      className={cx(
        "inline-flex items-center justify-center gap-2 rounded-lg border font-medium whitespace-nowrap transition-colors disabled:cursor-not-allowed disabled:opacity-55",
        small ? "min-h-8 px-2.5 text-sm" : "min-h-9.5 px-3.5",
        LOOKS[look],
        className,
      )}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      {...rest}
    >
      {busy && <Loader2 size={15} className="animate-spin" aria-hidden />}
      {children}
    </button>
  );
}

export function IconButton({ label, children, className, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { label: string }) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      className={cx("inline-flex size-9 shrink-0 items-center justify-center rounded-lg text-muted hover:bg-raised hover:text-ink disabled:opacity-50", className)}
      {...rest}
    >
      {children}
    </button>
  );
}

export type Tone = "good" | "warn" | "bad" | "accent" | "plain";
const TONES: Record<Tone, string> = {
  good: "bg-good-soft text-good", warn: "bg-warn-soft text-warn", bad: "bg-bad-soft text-bad",
  accent: "bg-accent-soft text-accent", plain: "bg-raised text-muted",
};
export function Badge({ tone = "plain", children }: { tone?: Tone; children: ReactNode }) {
  return <span className={cx("inline-flex max-w-full items-center gap-1 rounded-md px-2 py-0.5 text-xs font-medium", TONES[tone])}>{children}</span>;
}

export function Card({ title, action, children, className }: { title?: ReactNode; action?: ReactNode; children: ReactNode; className?: string }) {
  return (
    <section className={cx("min-w-0 rounded-xl border border-line bg-panel", className)}>
      {(title || action) && (
        <header className="flex flex-wrap items-center justify-between gap-2 border-b border-line px-4 py-2.5">
          <h2 className="font-semibold">{title}</h2>
          {action}
        </header>
      )}
      {children}
    </section>
  );
}

export function PageHead({ title, text, children }: { title: ReactNode; text?: ReactNode; children?: ReactNode }) {
  return (
    <div className="mb-5 flex flex-wrap items-start justify-between gap-3">
      <div className="min-w-0">
        <h1 className="text-2xl font-semibold tracking-tight">{title}</h1>
        {text && <p className="mt-1 max-w-2xl text-muted">{text}</p>}
      </div>
      {children && <div className="flex flex-wrap items-center gap-2">{children}</div>}
    </div>
  );
}

type Control = { id?: string; "aria-describedby"?: string; "aria-invalid"?: boolean };

/** A label, its control, a hint, and what is wrong with it, tied together for screen readers. */
export function Field({ label, hint, error, children, className }: { label: ReactNode; hint?: ReactNode; error?: string | null; children: ReactElement<Control>; className?: string }) {
  const id = useId();
  const note = hint || error ? `${id}-note` : undefined;
  return (
    <div className={cx("min-w-0", className)}>
      <label htmlFor={id} className="mb-1 block text-sm font-medium">{label}</label>
      {cloneElement(children, { id, "aria-describedby": note, "aria-invalid": error ? true : undefined })}
      {note && <p id={note} className={cx("mt-1 text-sm", error ? "text-bad" : "text-muted")}>{error || hint}</p>}
    </div>
  );
}

export function Switch({ checked, onChange, label, disabled }: { checked: boolean; onChange: (value: boolean) => void; label: string; disabled?: boolean }) {
  return (
    <button
      type="button"
      role="switch"
      aria-checked={checked}
      aria-label={label}
      disabled={disabled}
      onClick={() => onChange(!checked)}
      className={cx("relative h-6 w-11 shrink-0 rounded-full border transition-colors disabled:opacity-50", checked ? "border-accent bg-accent" : "border-edge bg-raised")}
    >
      <span className={cx("absolute top-0.75 left-0.75 size-4 rounded-full transition-transform", checked ? "translate-x-5 bg-accent-ink" : "bg-edge")} />
    </button>
  );
}

export function CopyButton({ text, small = true, label }: { text: string; small?: boolean; label?: string }) {
  const { t } = usePrefs();
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard: the old way still works.
      const area = document.createElement("textarea");
      area.value = text;
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    setDone(true);
    setTimeout(() => setDone(false), 1800);
  };
  return (
    <Button small={small} onClick={copy}>
      {done ? <Check size={15} aria-hidden /> : <Copy size={15} aria-hidden />}
      <span aria-live="polite">{done ? t("do.copied") : (label ?? t("do.copy"))}</span>
    </Button>
  );
}

/** Something with its own way to copy it. */
export function Code({ text, wrap }: { text: string; wrap?: boolean }) {
  return (
    <div className="relative min-w-0">
      <pre tabIndex={0} className={cx("max-h-96 overflow-auto rounded-lg bg-raised p-3 pr-24 text-sm", wrap && "break-all whitespace-pre-wrap")}>{text}</pre>
      <div className="absolute top-2 right-2"><CopyButton text={text} /></div>
    </div>
  );
}

export function Skeleton({ lines = 4, className }: { lines?: number; className?: string }) {
  const { t } = usePrefs();
  return (
    <div role="status" aria-label={t("state.loading")} className={cx("space-y-3 p-4", className)}>
      {Array.from({ length: lines }, (_, index) => <div key={index} className={cx("skeleton h-5", index % 3 === 2 ? "w-3/5" : "w-full")} />)}
    </div>
  );
}

export function Empty({ icon, title, text, children }: { icon?: ReactNode; title: string; text?: string; children?: ReactNode }) {
  return (
    <div className="flex flex-col items-center px-6 py-12 text-center">
      {icon && <div className="mb-3 rounded-full bg-raised p-3 text-muted" aria-hidden>{icon}</div>}
      <p className="font-semibold">{title}</p>
      {text && <p className="mt-1 max-w-md text-muted">{text}</p>}
      {children && <div className="mt-4 flex flex-wrap justify-center gap-2">{children}</div>}
    </div>
  );
}

export function Trouble({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = usePrefs();
  return (
    <div role="alert" className="m-4 flex flex-wrap items-center justify-between gap-3 rounded-lg bg-bad-soft p-3 text-bad">
      <span className="min-w-0 break-words">{words(error)}</span>
      {retry && <Button small onClick={retry}>{t("do.retry")}</Button>}
    </div>
  );
}

/** Used, reserved and left of a budget. */
export function BudgetBar({ used, reserved, total, label }: { used: number; reserved: number; total: number | null; label: string }) {
  const share = (value: number) => (total && total > 0 ? Math.min(100, (value / total) * 100) : 0);
  const full = total !== null && used + reserved >= total * 0.9;
  return (
    <div role="img" aria-label={label} className="flex h-2.5 w-full overflow-hidden rounded-full bg-raised">
      <div className={full ? "bg-bad" : "bg-accent"} style={{ width: `${share(used)}%` }} />
      <div className="bg-warn" style={{ width: `${Math.min(100 - share(used), share(reserved))}%` }} />
    </div>
  );
}

export function Segmented<T extends string>({ value, options, onChange, label }: { value: T; options: { value: T; label: string }[]; onChange: (value: T) => void; label: string }) {
  return (
    <div role="group" aria-label={label} className="inline-flex max-w-full overflow-x-auto rounded-lg border border-line bg-panel p-0.5">
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === value}
          onClick={() => onChange(option.value)}
          className={cx("min-h-8 rounded-md px-3 text-sm font-medium whitespace-nowrap", option.value === value ? "bg-accent-soft text-accent" : "text-muted hover:text-ink")}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}

export function Tabs<T extends string>({ value, options, onChange, label }: { value: T; options: { value: T; label: ReactNode }[]; onChange: (value: T) => void; label: string }) {
  const move = (step: number) => {
    const index = options.findIndex((option) => option.value === value);
    const next = options[(index + step + options.length) % options.length];
    if (next) {
      onChange(next.value);
      document.getElementById(`tab-${next.value}`)?.focus();
    }
  };
  return (
    <div role="tablist" aria-label={label} className="mb-4 flex gap-1 overflow-x-auto border-b border-line" onKeyDown={(event) => {
      if (event.key === "ArrowRight") move(1);
      if (event.key === "ArrowLeft") move(-1);
    }}>
      {options.map((option) => (
        <button
          key={option.value}
          id={`tab-${option.value}`}
          type="button"
          role="tab"
          aria-selected={option.value === value}
          tabIndex={option.value === value ? 0 : -1}
          onClick={() => onChange(option.value)}
          className={cx("-mb-px border-b-2 px-3 py-2 font-medium whitespace-nowrap", option.value === value ? "border-accent text-ink" : "border-transparent text-muted hover:text-ink")}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}
