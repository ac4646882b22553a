/** Numbers, money and moments as people read them. */
import { locale } from "./prefs";

export const count = (value: number | null | undefined) => (value == null ? "–" : new Intl.NumberFormat(locale()).format(value));
export const compact = (value: number) =>
  new Intl.NumberFormat(locale(), { notation: "compact", maximumFractionDigits: 1 }).format(value);
export const percent = (value: number | null) =>
  value == null ? "–" : new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: 1 }).format(value);

/** Small amounts keep the digits that matter; large ones are rounded to cents. */
export function usd(value: string | number | null | undefined): string {
  if (value == null) return "–";
  const amount = Number(value);
  const digits = amount === 0 || Math.abs(amount) >= 1 ? 2 : Math.min(9, 2 - Math.floor(Math.log10(Math.abs(amount))));
  return `$${new Intl.NumberFormat(locale(), { minimumFractionDigits: 2, maximumFractionDigits: digits }).format(amount)}`;
}

export const moment = (us: number) => new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(us / 1000);
export const short = (us: number) =>
  new Intl.DateTimeFormat(locale(), { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(us / 1000);

export function ms(value: number | null | undefined): string {
  if (value == null) return "–";
  if (value < 1000) return `${Math.round(value)} ms`;
  return value < 60_000 ? `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s` : `${Math.floor(value / 60_000)} m ${Math.round((value % 60_000) / 1000)} s`;
}

/** A day, with its year where that is not the present one. */
export const day = (us: number) =>
  new Intl.DateTimeFormat(locale(), { month: "short", day: "numeric", year: new Date(us / 1000).getFullYear() === new Date().getFullYear() ? undefined : "numeric" }).format(us / 1000);

export function bucket(us: number, period: "hour" | "day"): string {
  const options: Intl.DateTimeFormatOptions =
    period === "day" ? { month: "short", day: "numeric", timeZone: "UTC" } : { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false };
  return new Intl.DateTimeFormat(locale(), options).format(us / 1000);
}
export const nowUs = () => Date.now() * 1000;
export const HOUR = 3_600_000_000;
export const DAY = 24 * HOUR;
