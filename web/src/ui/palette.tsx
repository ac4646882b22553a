/** Ctrl/Cmd-K: go anywhere, find a provider, user or model by name. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Search } from "lucide-react";
import { useDeferredValue, useState } from "react";

import { get } from "../lib/api";
import { setLanguage, setTheme, usePrefs } from "../lib/prefs";
import { useSession } from "../lib/session";
import type { Model, Page, Provider, User } from "../lib/types";
import { placesFor, signOut } from "../shell";
import { cx } from "./base";
import { Dialog } from "./dialog";

type Entry = { id: string; text: string; kind: string; run: () => void };

export function Palette({ onClose }: { onClose: () => void }) {
  const { t, theme, language } = usePrefs();
  const { me } = useSession();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const wanted = useDeferredValue(typed.trim());
  const admin = me?.is_admin ?? false;
  const found = useQuery({
    queryKey: ["palette", wanted],
    enabled: admin && wanted.length > 0,
    queryFn: async ({ signal }) => {
      const query = { q: wanted, limit: 6 };
      const [providers, users, models] = await Promise.all([
        get<Page<Provider>>("/admin/providers", query, signal), get<Page<User>>("/admin/users", query, signal), get<Page<Model>>("/admin/models", query, signal),
      ]);
      return [
        ...providers.items.map((row) => ({ kind: t("word.provider"), text: row.name, to: `/providers/${encodeURIComponent(row.name)}` })),
        ...users.items.map((row) => ({ kind: t("word.user"), text: row.name, to: `/users/${encodeURIComponent(row.name)}` })),
        ...models.items.map((row) => ({ kind: t("word.model"), text: `${row.provider_name}/${row.model_id}`, to: `/models?q=${encodeURIComponent(row.model_id)}` })),
      ];
    },
  });
  const go = (to: string) => () => void navigate({ href: `/console${to}` } as never);
  const fits = (text: string) => text.toLowerCase().includes(wanted.toLowerCase());
  const entries: Entry[] = [
    ...placesFor(admin).flatMap((group) => group.places).filter((place) => fits(t(place.text))).map((place) => ({ id: place.to, text: t(place.text), kind: t("word.page"), run: go(place.to) })),
    ...(found.data ?? []).map((each) => ({ id: each.to, text: each.text, kind: each.kind, run: go(each.to) })),
    ...[
      { id: "theme", text: t("palette.theme"), kind: t("word.action"), run: () => setTheme(theme === "dark" ? "light" : "dark") },
      { id: "language", text: language === "en" ? "切换到中文" : "Switch to English", kind: t("word.action"), run: () => void setLanguage(language === "en" ? "zh" : "en") },
      { id: "signout", text: t("do.signout"), kind: t("word.action"), run: () => void signOut(() => client.clear()) },
    ].filter((entry) => fits(entry.text)),
  ];
  const current = Math.min(at, entries.length - 1);
  const run = (entry: Entry | undefined) => {
    if (entry) {
      onClose();
      entry.run();
    }
  };
  return (
    <Dialog title={t("nav.search")} onClose={onClose}>
      <div className="relative mb-3">
        <Search size={17} className="absolute top-3 left-3 text-muted" aria-hidden />
        <input
          autoFocus role="combobox" aria-expanded aria-controls="palette-list" aria-activedescendant={entries[current] && `palette-${current}`} aria-label={t("nav.search")}
          className="field pl-9" placeholder={t("palette.hint")} value={typed}
          onChange={(event) => { setTyped(event.target.value); setAt(0); }}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown" || event.key === "ArrowUp") {
              event.preventDefault();
              setAt((current + (event.key === "ArrowDown" ? 1 : entries.length - 1)) % Math.max(1, entries.length));
            }
            if (event.key === "Enter") run(entries[current]);
          }}
        />
      </div>
      <ul role="listbox" id="palette-list" aria-label={t("nav.search")} className="max-h-80 overflow-y-auto">
        {entries.map((entry, index) => (
          <li key={entry.id} id={`palette-${index}`} role="option" aria-selected={index === current} onClick={() => run(entry)} onPointerMove={() => setAt(index)}
            className={cx("flex cursor-pointer items-center justify-between gap-3 rounded-lg px-3 py-2", index === current && "bg-accent-soft text-accent")}>
            <span className="min-w-0 truncate">{entry.text}</span><span className={cx("text-xs", index !== current && "text-muted")}>{entry.kind}</span>
          </li>
        ))}
      </ul>
      {!entries.length && <p className="p-3 text-muted">{t("palette.none")}</p>}
    </Dialog>
  );
}
