/** What a provider of a channel can be told: the everyday settings as fields, the rest as a table in JSON. */
import { t } from "../lib/prefs";
import type { Channel, Provider } from "../lib/types";
import type { Spec, Values } from "../ui/form";

export const DIALECTS = ["openai_chat", "openai_responses", "anthropic_messages", "gemini"] as const;
const PLAIN = ["base_url", "dialect", "region", "location", "project", "resource", "api_version", "proxy", "rotation", "on_disconnect", "loss", "idle_timeout", "total_timeout"];
const NUMBERS = new Set(["idle_timeout", "total_timeout"]);

export function startSpecs(channels: Channel[]): Spec[] {
  return [
    { name: "channel", label: t("word.channel"), kind: "select", hint: t("provider.channel.hint"), only: "create", options: channels.map((each) => ({ value: each.name, label: `${each.label} (${each.name})` })) },
    { name: "name", label: t("word.name"), required: true, hint: t("provider.name.hint") },
    { name: "label", label: t("word.label") },
    { name: "enabled", label: t("word.enabled"), kind: "switch" },
  ];
}

const choice = (values: string[]) => [{ value: "", label: t("word.default") }, ...values.map((value) => ({ value, label: value }))];

export function settingSpecs(channel: Channel | undefined): Spec[] {
  const needs = channel?.needs ?? [];
  const holes = [...(channel?.base_url ?? "").matchAll(/\{([a-z_]+)-?\}/g)].map((found) => found[1] as string);
  const named = [...new Set([...needs, ...holes])].filter((name) => name !== "base_url" && name !== "dialect");
  return [
    { name: "settings.base_url", label: "base_url", required: needs.includes("base_url"), wide: true, placeholder: channel?.base_url || "https://…", hint: t("provider.base_url.hint") },
    ...(channel?.name === "custom" ? [{ name: "settings.dialect", label: t("word.dialect"), kind: "select" as const, hint: t("provider.dialect.hint"), options: DIALECTS.map((value) => ({ value, label: value })) }] : []),
    ...named.map((name) => ({ name: `settings.${name}`, label: name, required: needs.includes(name) })),
    { name: "settings.rotation", label: t("provider.rotation"), kind: "select", options: choice(["round_robin", "sticky", "least_in_flight", "cache_affinity"]) },
    { name: "settings.on_disconnect", label: t("provider.on_disconnect"), kind: "select", options: choice(["cancel", "finish"]) },
    { name: "settings.loss", label: t("provider.loss"), kind: "select", options: choice(["allow", "warn", "forbid"]) },
    { name: "settings.proxy", label: t("provider.proxy"), placeholder: "http://…" },
    { name: "settings.idle_timeout", label: t("provider.idle"), kind: "number" },
    { name: "settings.total_timeout", label: t("provider.total"), kind: "number" },
    { name: "settings.*", label: t("provider.more"), kind: "json", hint: t("provider.more.hint") },
  ];
}

export function valuesOf(row: Provider): Values {
  const rest = Object.fromEntries(Object.entries(row.settings).filter(([name, value]) => !plain(name, value)));
  return {
    name: row.name, label: row.label ?? "", enabled: row.enabled,
    ...Object.fromEntries(PLAIN.map((name) => [`settings.${name}`, plain(name, row.settings[name]) ? String(row.settings[name]) : ""])),
    "settings.*": Object.keys(rest).length ? JSON.stringify(rest, null, 1) : "",
  };
}

/** Whether a field can hold the value without changing it. */
const plain = (name: string, value: unknown) => PLAIN.includes(name) && typeof value === (NUMBERS.has(name) ? "number" : "string");
