/** Reading lists page by page, and saying what went wrong in words that help. */
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";

import { ApiError, at, get } from "./api";
import { t } from "./prefs";
import type { Page } from "./types";

type Filters = Record<string, string | number | boolean | null | undefined>;

export function useRows<T>(path: string, filters: Filters = {}, options: { limit?: number; every?: number; enabled?: boolean } = {}) {
  const query = useInfiniteQuery({
    queryKey: [path, "rows", filters, options.limit],
    queryFn: ({ pageParam, signal }) => get<Page<T>>(path, { ...filters, limit: options.limit ?? 100, cursor: pageParam }, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    // Only the newest page keeps itself current: to read many pages anew would ask as many questions.
    refetchInterval: ({ state }) => ((state.data?.pages.length ?? 0) <= 1 && options.every) || false,
    enabled: options.enabled ?? true,
  });
  return { ...query, rows: query.data?.pages.flatMap((page) => page.items) ?? [] };
}

/** A whole list, for pickers: at most 1000 rows, which the server gives in one page. */
export function useAll<T>(resource: string, filters: Filters = {}, options: { enabled?: boolean } = {}) {
  return useQuery({
    queryKey: [at(resource), "all", filters],
    queryFn: async ({ signal }) => (await get<Page<T>>(at(resource), { ...filters, limit: 1000 }, signal)).items,
    enabled: options.enabled ?? true,
  });
}

export function useRead<T>(path: string, query: Filters = {}, options: { every?: number; enabled?: boolean } = {}) {
  return useQuery({
    queryKey: [path, query],
    queryFn: ({ signal }) => get<T>(path, query, signal),
    refetchInterval: options.every,
    enabled: options.enabled ?? true,
  });
}

/** After a write everything that is shown is read anew: rows show figures of other resources. */
export function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries();
}

export function words(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  const hints: Record<string, string> = {
    unreachable: t("error.unreachable"), unauthorized: t("error.unauthorized"), csrf_failed: t("error.csrf"),
    last_admin: t("error.last_admin"), rate_limited: t("error.rate_limited"),
  };
  const hint = hints[error.code];
  return hint && error.code !== "last_admin" ? (error.code === "unreachable" ? hint : `${hint} (${error.message})`) : hint ? `${error.message}. ${hint}` : error.message;
}
