/** What the browser remembers: theme and language. Nothing secret is ever kept here. */
import { useSyncExternalStore } from "react";

import { en, type Text } from "../text/en";

export type Theme = "system" | "light" | "dark";
export type Language = "en" | "zh";
export type TextKey = keyof Text;

const listeners = new Set<() => void>();
let version = 0;
let theme = (read("gproxy.theme") as Theme | null) ?? "system";
let language: Language = (read("gproxy.language") as Language | null) ?? (navigator.language.startsWith("zh") ? "zh" : "en");
let text: Text = en;

function read(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // a browser that forbids storage still works, it only forgets
  }
}
function write(name: string, value: string) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // see read
  }
}
function changed() {
  version += 1;
  for (const listener of listeners) listener();
}

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  document.documentElement.dataset.theme = theme === "dark" || (theme === "system" && dark.matches) ? "dark" : "light";
}
dark.addEventListener("change", paint);
paint();

export async function setLanguage(next: Language) {
  text = next === "zh" ? (await import("../text/zh")).zh : en;
  language = next;
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  write("gproxy.language", next);
  changed();
}
export function setTheme(next: Theme) {
  theme = next;
  write("gproxy.theme", next);
  paint();
  changed();
}
export const startLanguage = () => setLanguage(language);
export const locale = () => (language === "zh" ? "zh-CN" : "en-US");

export function t(key: TextKey, values: Record<string, string | number> = {}): string {
  return text[key].replace(/\{(\w+)\}/g, (hole, name: string) => String(values[name] ?? hole));
}

export function usePrefs() {
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => version,
  );
  return { theme, language, t };
}
