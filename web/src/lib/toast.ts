/** Short words about what just happened; errors stay until they are read. */
import { useSyncExternalStore } from "react";

export type Toast = { id: number; kind: "good" | "bad"; text: string; undo?: () => Promise<unknown> };
let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();
const set = (value: Toast[]) => {
  toasts = value;
  for (const listener of listeners) listener();
};
export const dismiss = (id: number) => set(toasts.filter((toast) => toast.id !== id));
export function say(text: string, kind: Toast["kind"] = "good", undo?: Toast["undo"]) {
  const id = next++;
  set([...toasts.slice(-3), { id, kind, text, undo }]);
  // Long enough to think again, where there is a way back.
  if (kind === "good") setTimeout(() => dismiss(id), undo ? 12_000 : 4000);
}
export const useToasts = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
