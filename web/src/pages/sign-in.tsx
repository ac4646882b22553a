import { useState, type FormEvent } from "react";

import { api, ApiError } from "../lib/api";
import { useRefresh, words } from "../lib/data";
import { usePrefs } from "../lib/prefs";
import { signedIn } from "../lib/session";
import type { Me } from "../lib/types";
import { Brand, LanguageButton, ThemeButton } from "../shell";
import { Button, Field } from "../ui/base";

type Login = { user_id: string; user_name: string; is_admin: boolean; csrf_token: string };

/** The door. `again`: a session has ended while its owner was at work; the page behind stays as it is. */
export function SignIn({ again }: { again?: string }) {
  const { t } = usePrefs();
  const refresh = useRefresh();
  const [name, setName] = useState(again ?? "");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const login = await api<Login>("POST", "/login", { body: { username: name, password } });
      const me: Me = { user_id: login.user_id, name: login.user_name, is_admin: login.is_admin, via: "cookie", csrf_token: login.csrf_token };
      await refresh();
      signedIn(me);
    } catch (problem) {
      setError(problem instanceof ApiError && problem.status === 401 ? t("signin.wrong") : words(problem));
      setBusy(false);
    }
  };
  const form = (
    <form onSubmit={submit} className="space-y-4">
      <Field label={t("signin.name")}>
        <input className="field" autoFocus={!again} autoComplete="username" readOnly={again !== undefined} required value={name} onChange={(event) => setName(event.target.value)} />
      </Field>
      <Field label={t("signin.password")} error={error}>
        <input className="field" autoFocus={again !== undefined} type="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.target.value)} />
      </Field>
      <Button look="main" type="submit" className="w-full" busy={busy}>{t("signin.do")}</Button>
    </form>
  );
  if (again !== undefined) return form;
  return (
    <main className="grid min-h-dvh place-items-center p-4">
      <div className="w-full max-w-sm">
        <div className="mb-5 flex items-center justify-between"><Brand /><span className="flex"><ThemeButton /><LanguageButton /></span></div>
        <div className="rounded-2xl border border-line bg-panel p-6 shadow-sm">
          <h1 className="mb-1 text-xl font-semibold">{t("signin.title")}</h1>
          <p className="mb-5 text-muted">{t("signin.text")}</p>
          {form}
        </div>
        <p className="mt-4 text-center text-sm text-muted">{t("signin.help")}</p>
      </div>
    </main>
  );
}
