/** Dialogs on the browser's own <dialog>: it keeps the focus, closes on Esc and hides the rest from screen readers. */
import { X } from "lucide-react";
import { useEffect, useId, useRef, useState, type ReactNode } from "react";

import { words } from "../lib/data";
import { usePrefs } from "../lib/prefs";
import { Button, CopyButton, cx, Field, IconButton } from "./base";

type Props = { title: ReactNode; onClose: () => void; children: ReactNode; foot?: ReactNode; side?: boolean; wide?: boolean; fixed?: boolean };

/** Shown for as long as it is rendered. `fixed`: Esc does not close it, because something would be lost. */
export function Dialog({ title, onClose, children, foot, side, wide, fixed }: Props) {
  const { t } = usePrefs();
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onCancel={(event) => {
        if (event.target !== ref.current) return;
        event.preventDefault();
        if (!fixed) onClose();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" && fixed) event.preventDefault();
      }}
      onClose={(event) => {
        // A browser may close it over our word (a second Esc in a row): then the page decides, and what must stay comes back.
        if (event.target !== ref.current || ref.current.open) return;
        if (!fixed) onClose();
        requestAnimationFrame(() => {
          if (ref.current && !ref.current.open) ref.current.showModal();
        });
      }}
      className={cx(
        "border border-line bg-panel p-0 shadow-2xl",
        side ? "sheet mr-0 h-dvh w-full max-w-xl border-y-0 border-r-0" : cx("max-h-[92dvh] w-[calc(100%-1.5rem)] rounded-2xl", wide ? "max-w-3xl" : "max-w-lg"),
      )}
    >
      <div className={cx("flex flex-col", side ? "h-full" : "max-h-[92dvh]")}>
        <header className="flex items-center justify-between gap-3 border-b border-line px-5 py-3">
          <h2 id={id} className="min-w-0 text-lg font-semibold">{title}</h2>
          {!fixed && <IconButton label={t("do.close")} onClick={onClose}><X size={18} aria-hidden /></IconButton>}
        </header>
        <div className="min-h-0 flex-1 overflow-y-auto p-5">{children}</div>
        {foot && <footer className="flex flex-wrap justify-end gap-2 border-t border-line px-5 py-3">{foot}</footer>}
      </div>
    </dialog>
  );
}

/** A destructive act is confirmed by typing the name of what it destroys. */
export function Confirm({ what, name, text, onDo, onClose }: { what: string; name: string; text: string; onDo: () => Promise<unknown>; onClose: () => void }) {
  const { t } = usePrefs();
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      await onDo();
      onClose();
    } catch (problem) {
      setError(words(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog title={what} onClose={onClose} foot={
      <>
        <Button onClick={onClose}>{t("do.cancel")}</Button>
        <Button look="danger" disabled={typed !== name} busy={busy} onClick={run}>{what}</Button>
      </>
    }>
      <p className="mb-4 text-muted">{text}</p>
      <Field label={t("confirm.type", { name })} error={error}>
        <input className="field" autoFocus autoComplete="off" spellCheck={false} value={typed} onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => { if (event.key === "Enter" && typed === name && !busy) void run(); }} />
      </Field>
    </Dialog>
  );
}

/** A secret in clear, in a dialog that only its own button closes. */
export function SecretOnce({ title, secret, text, children, onClose }: { title: string; secret: string; text?: string; children?: ReactNode; onClose: () => void }) {
  const { t } = usePrefs();
  return (
    <Dialog title={title} onClose={onClose} fixed foot={<><CopyButton small={false} text={secret} /><Button look="main" onClick={onClose}>{t("secret.kept")}</Button></>}>
      <p className="mb-3 text-muted">{text ?? t("secret.once")}</p>
      <p className="mono rounded-lg bg-raised p-3 break-all whitespace-pre-wrap select-all" data-testid="secret">{secret}</p>
      {children}
    </Dialog>
  );
}
