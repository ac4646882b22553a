/** The frame around every page: navigation, palette, language and theme, toasts, and the door. */
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Activity, BarChart3, BookOpen, Boxes, FlaskConical, Gauge, History, Languages, LogOut, Menu, Moon, Network, Power, ScrollText, Search, Settings, Sun, SunMoon, TriangleAlert, User, Users, X, type LucideIcon } from "lucide-react";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { send } from "./lib/api";
import { setLanguage, setTheme, usePrefs, type TextKey } from "./lib/prefs";
import { signedOut, useSession } from "./lib/session";
import { dismiss, useToasts } from "./lib/toast";
import { SignIn } from "./pages/sign-in";
import { Button, cx, IconButton } from "./ui/base";
import { Dialog } from "./ui/dialog";
import { Palette } from "./ui/palette";

export type Place = { to: string; text: TextKey; icon: LucideIcon; everyone?: boolean };
export const PLACES: { head: TextKey | null; places: Place[] }[] = [
  { head: null, places: [{ to: "/overview", text: "nav.overview", icon: Gauge }, { to: "/live", text: "nav.live", icon: Activity }] },
  { head: "nav.configure", places: [
    { to: "/providers", text: "nav.providers", icon: Network }, { to: "/models", text: "nav.models", icon: Boxes },
    { to: "/users", text: "nav.users", icon: Users },
  ] },
  { head: "nav.understand", places: [
    { to: "/requests", text: "nav.requests", icon: ScrollText }, { to: "/usage", text: "nav.usage", icon: BarChart3 },
    { to: "/playground", text: "nav.playground", icon: FlaskConical, everyone: true },
  ] },
  { head: "nav.operate", places: [
    { to: "/shutdowns", text: "nav.shutdowns", icon: Power }, { to: "/audit", text: "nav.audit", icon: BookOpen },
    { to: "/revisions", text: "nav.revisions", icon: History }, { to: "/settings", text: "nav.settings", icon: Settings },
  ] },
  { head: "nav.own", places: [{ to: "/account", text: "nav.account", icon: User, everyone: true }] },
];
export const placesFor = (admin: boolean) =>
  PLACES.map((group) => ({ ...group, places: group.places.filter((place) => admin || place.everyone) })).filter((group) => group.places.length);

export function Shell() {
  const { status, me } = useSession();
  const { t } = usePrefs();
  if (status === "loading") return <div role="status" className="grid min-h-dvh place-items-center text-muted">{t("state.loading")}</div>;
  if (status === "out" || !me) return <SignIn />;
  return (
    <>
      <Frame />
      {status === "expired" && (
        <Dialog title={t("expired.title")} onClose={() => undefined} fixed>
          <p className="mb-4 text-muted">{t("expired.text")}</p>
          <SignIn again={me.name} />
        </Dialog>
      )}
    </>
  );
}

export async function signOut(clear: () => void) {
  try {
    await send("POST", "/logout");
  } finally {
    clear();
    signedOut();
  }
}

function Frame() {
  const { me } = useSession();
  const { t } = usePrefs();
  const [menu, setMenu] = useState(false);
  const [palette, setPalette] = useState(false);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const navigate = useNavigate();
  const client = useQueryClient();
  const admin = me?.is_admin ?? false;
  const allowed = placesFor(admin).flatMap((group) => group.places).some((place) => path.startsWith(place.to));

  useEffect(() => {
    if (!allowed) void navigate({ to: (admin ? "/overview" : "/account") as never, replace: true });
  }, [allowed, admin, navigate]);
  useEffect(() => {
    setMenu(false);
    const place = PLACES.flatMap((group) => group.places).find((each) => path.startsWith(each.to));
    document.title = place ? `${t(place.text)} · gproxy` : "gproxy";
  }, [path, t]);
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette((open) => !open);
      }
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);

  return (
    <div className="lg:grid lg:grid-cols-[15rem_minmax(0,1fr)]">
      <a href="#main" className="sr-only rounded-lg bg-accent px-3 py-2 text-accent-ink focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50">{t("nav.skip")}</a>
      <header className="sticky top-0 z-30 flex items-center justify-between gap-2 border-b border-line bg-panel px-3 py-2 lg:hidden">
        <Brand />
        <div className="flex">
          <IconButton label={t("nav.search")} onClick={() => setPalette(true)}><Search size={18} aria-hidden /></IconButton>
          <IconButton label={t("nav.menu")} aria-expanded={menu} aria-controls="menu" onClick={() => setMenu(!menu)}>{menu ? <X size={20} aria-hidden /> : <Menu size={20} aria-hidden />}</IconButton>
        </div>
      </header>
      <aside id="menu" className={cx("border-line bg-panel lg:sticky lg:top-0 lg:flex lg:h-dvh lg:flex-col lg:border-r", menu ? "fixed inset-x-0 top-13 bottom-0 z-30 flex flex-col overflow-y-auto" : "hidden")}>
        <div className="hidden px-4 pt-4 pb-2 lg:block"><Brand /></div>
        <button type="button" onClick={() => setPalette(true)} className="mx-3 mt-2 hidden items-center gap-2 rounded-lg border border-line px-3 py-1.5 text-sm text-muted hover:bg-raised lg:flex">
          <Search size={15} aria-hidden /> {t("nav.search")} <kbd className="mono ml-auto text-xs">{navigator.platform.startsWith("Mac") ? "⌘" : "Ctrl "}K</kbd>
        </button>
        <nav aria-label={t("nav.main")} className="flex-1 overflow-y-auto p-3">
          {placesFor(admin).map((group) => (
            <div key={group.head ?? ""} className="mb-3">
              {group.head && <div className="px-2.5 pb-1 text-xs font-medium text-muted">{t(group.head)}</div>}
              {group.places.map((place) => (
                <Link
                  key={place.to}
                  to={place.to as never}
                  className={cx("flex min-h-9 items-center gap-2.5 rounded-lg px-2.5", path.startsWith(place.to) ? "bg-accent-soft font-medium text-accent" : "hover:bg-raised")}
                  aria-current={path.startsWith(place.to) ? "page" : undefined}
                >
                  <place.icon size={17} aria-hidden /> {t(place.text)}
                </Link>
              ))}
            </div>
          ))}
        </nav>
        <div className="flex items-center gap-1 border-t border-line p-2">
          <span className="min-w-0 flex-1 truncate px-2 text-sm" title={me?.name}>{me?.name}</span>
          <ThemeButton /><LanguageButton />
          <IconButton label={t("do.signout")} onClick={() => void signOut(() => client.clear())}><LogOut size={17} aria-hidden /></IconButton>
        </div>
      </aside>
      <main id="main" tabIndex={-1} className="mx-auto w-full max-w-7xl min-w-0 px-4 py-6 outline-none sm:px-6">{allowed && <Outlet />}</main>
      {palette && <Palette onClose={() => setPalette(false)} />}
      <Toasts />
    </div>
  );
}

export function Brand() {
  return (
    <span className="flex items-center gap-2 text-lg font-semibold tracking-tight">
      <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden><rect width="32" height="32" rx="8" fill="#4338ca" /><path d="M23 11.5A8 8 0 1 0 24 17h-7" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" strokeLinejoin="round" /></svg>
      gproxy
    </span>
  );
}

export function ThemeButton() {
  const { theme, t } = usePrefs();
  const next = theme === "system" ? "light" : theme === "light" ? "dark" : "system";
  const Icon = theme === "system" ? SunMoon : theme === "light" ? Sun : Moon;
  return <IconButton label={t("nav.theme", { theme: t(`theme.${theme}`) })} onClick={() => setTheme(next)}><Icon size={17} aria-hidden /></IconButton>;
}

export function LanguageButton() {
  const { language } = usePrefs();
  return <IconButton label={language === "en" ? "切换到中文" : "Switch to English"} onClick={() => void setLanguage(language === "en" ? "zh" : "en")}><Languages size={17} aria-hidden /></IconButton>;
}

function Toasts() {
  const toasts = useToasts();
  const { t } = usePrefs();
  return (
    <div aria-live="polite" className="fixed inset-x-3 bottom-3 z-50 flex flex-col items-end gap-2 sm:left-auto sm:w-96">
      {toasts.map((toast) => (
        <div key={toast.id} className={cx("flex w-full items-start gap-2 rounded-lg border p-3 shadow-lg", toast.kind === "bad" ? "border-bad bg-bad-soft text-bad" : "border-line bg-panel")}>
          {toast.kind === "bad" && <TriangleAlert size={17} className="mt-0.5 shrink-0" aria-hidden />}
          <span className="min-w-0 flex-1 break-words">{toast.text}</span>
          {toast.undo && <Button small onClick={() => { dismiss(toast.id); void toast.undo?.(); }}>{t("do.undo")}</Button>}
          <IconButton label={t("do.close")} className="-m-1.5 size-7" onClick={() => dismiss(toast.id)}><X size={15} aria-hidden /></IconButton>
        </div>
      ))}
    </div>
  );
}
