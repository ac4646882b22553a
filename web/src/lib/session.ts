/** Who is signed in. An expired session keeps the page, so that a half-filled form survives signing in again. */
import { useSyncExternalStore } from "react";

import type { Me } from "./types";

export type Session = { status: "loading" | "out" | "in" | "expired"; me: Me | null };

let current: Session = { status: "loading", me: null };
const listeners = new Set<() => void>();

function set(next: Session) {
  current = next;
  for (const listener of listeners) listener();
}

export const signedIn = (me: Me) => set({ status: "in", me });
export const signedOut = () => set({ status: "out", me: null });
export function expire() {
  if (current.status === "in") set({ status: "expired", me: current.me });
  else if (current.status === "loading") signedOut();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
export const useSession = () => useSyncExternalStore(subscribe, () => current);
