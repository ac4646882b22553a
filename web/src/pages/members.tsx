/**
 * The members of a route, tier by tier. A member changes tiers by dragging it, or with the arrow keys on its handle:
 * up is tried earlier, down later, and one step behind the last tier makes a new one.
 */
import { GripVertical, Trash2 } from "lucide-react";
import { useRef, useState } from "react";

import { usePrefs } from "../lib/prefs";
import type { Member, Model } from "../lib/types";
import { cx, IconButton } from "../ui/base";

export const readMembers = (text: string | boolean | undefined): Member[] => {
  try {
    return JSON.parse(typeof text === "string" ? text : "[]") as Member[];
  } catch {
    return [];
  }
};

const nameOf = (each: Member) => `${each.provider_name}/${each.model_id}`;

export function Members({ models, members, onChange }: { models: Model[]; members: Member[]; onChange: (next: Member[]) => void }) {
  const { t } = usePrefs();
  const [dragged, setDragged] = useState<number | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const [said, setSaid] = useState("");
  const box = useRef<HTMLFieldSetElement>(null);
  const tiers = [...new Set(members.map((each) => each.tier))].sort((a, b) => a - b);
  const last = tiers.at(-1) ?? -1;
  const put = (index: number, change: Partial<Member>) => onChange(members.map((each, at) => (at === index ? { ...each, ...change } : each)));
  const move = (index: number, tier: number) => {
    const member = members[index];
    if (!member || member.tier === tier) return;
    put(index, { tier });
    setSaid(t("route.moved", { name: nameOf(member), n: tier }));
    // The row is drawn anew in its new tier: the focus goes with it.
    requestAnimationFrame(() => box.current?.querySelector<HTMLElement>(`[data-grip="${index}"]`)?.focus());
  };
  /** The neighbouring tier; before the first there is 0, behind the last a new one, unless it would only rename the tier. */
  const beside = (index: number, step: 1 | -1) => {
    const tier = members[index]?.tier ?? 0;
    const next = step > 0 ? tiers.find((each) => each > tier) : [...tiers].reverse().find((each) => each < tier);
    if (next !== undefined) return next;
    const alone = members.filter((each) => each.tier === tier).length === 1;
    return alone ? tier : step > 0 ? tier + 1 : Math.max(0, tier - 1);
  };
  const zone = (tier: number) => ({
    onDragOver: (event: React.DragEvent) => { event.preventDefault(); event.dataTransfer.dropEffect = "move"; setOver(tier); },
    onDragLeave: () => setOver(null),
    onDrop: (event: React.DragEvent) => { event.preventDefault(); if (dragged !== null) move(dragged, tier); setDragged(null); setOver(null); },
  });
  return (
    <fieldset ref={box} className="rounded-lg border border-line p-3">
      <legend className="px-1 text-sm font-medium">{t("route.members")}</legend>
      <p className="mb-2 text-sm text-muted">{members.length ? t("route.members.hint") : t("route.members.none")}</p>
      <p role="status" className="sr-only">{said}</p>
      {tiers.map((tier) => (
        <section key={tier} aria-label={t("route.tier.n", { n: tier })} data-testid={`tier-${tier}`} {...zone(tier)} className={cx("mb-3 rounded-lg bg-raised p-2", over === tier && "outline-2 outline-accent")}>
          <div className="mb-1 text-xs font-medium text-muted">{t("route.tier.n", { n: tier })}</div>
          {members.map((each, index) => each.tier === tier && (
            <div key={index} draggable onDragStart={(event) => { event.dataTransfer.setData("text/plain", nameOf(each)); event.dataTransfer.effectAllowed = "move"; setDragged(index); }} onDragEnd={() => { setDragged(null); setOver(null); }}
              className={cx("mb-1 flex flex-wrap items-center gap-2 rounded-lg border border-line bg-panel p-2", dragged === index && "opacity-50")}>
              <button type="button" data-grip={index} aria-label={t("route.grip", { name: nameOf(each), n: tier })} title={t("route.members.hint")} className="cursor-grab rounded p-1 text-muted hover:bg-raised hover:text-ink"
                onKeyDown={(event) => {
                  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
                  event.preventDefault();
                  move(index, beside(index, event.key === "ArrowDown" ? 1 : -1));
                }}><GripVertical size={16} aria-hidden /></button>
              <span className="mono min-w-0 flex-1 basis-40 break-all">{nameOf(each)}</span>
              <label className="flex items-center gap-1 text-sm">{t("route.tier")}<input type="number" min={0} className="field w-16 px-2" value={each.tier} onChange={(event) => put(index, { tier: Math.max(0, Math.round(Number(event.target.value))) })} /></label>
              <label className="flex items-center gap-1 text-sm">{t("word.weight")}<input type="number" min={0} className="field w-18 px-2" value={each.weight} onChange={(event) => put(index, { weight: Math.max(0, Math.round(Number(event.target.value))) })} /></label>
              <IconButton label={`${t("do.remove")}: ${nameOf(each)}`} onClick={() => onChange(members.filter((_, at) => at !== index))}><Trash2 size={16} aria-hidden /></IconButton>
            </div>
          ))}
        </section>
      ))}
      {dragged !== null && <div data-testid="tier-new" {...zone(last + 1)} className={cx("mb-3 rounded-lg border border-dashed border-edge p-3 text-center text-sm text-muted", over === last + 1 && "outline-2 outline-accent")}>{t("route.tier.new", { n: last + 1 })}</div>}
      <select className="field" aria-label={t("route.members.add")} value="" onChange={(event) => {
        const model = models.find((each) => each.id === event.target.value);
        if (model) onChange([...members, { provider_name: model.provider_name, model_id: model.model_id, tier: 0, weight: 1 }]);
      }}>
        <option value="">{t("route.members.add")}</option>
        {models.map((each) => <option key={each.id} value={each.id}>{each.provider_name}/{each.model_id}</option>)}
      </select>
    </fieldset>
  );
}
