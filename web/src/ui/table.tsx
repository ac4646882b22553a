/** Tables: columns as values, keyset paging by "more", skeletons while loading, words when empty. */
import type { ReactNode } from "react";

import { usePrefs } from "../lib/prefs";
import { Button, cx, Skeleton, Trouble } from "./base";

export type Column<T> = { head: string; cell: (row: T) => ReactNode; right?: boolean; from?: "sm" | "md" | "lg"; wide?: boolean };
const FROM = { sm: "hidden sm:table-cell", md: "hidden md:table-cell", lg: "hidden lg:table-cell" };

type Source<T> = {
  rows: T[]; isPending: boolean; error: unknown; refetch: () => unknown;
  hasNextPage?: boolean; isFetchingNextPage?: boolean; fetchNextPage?: () => unknown;
};

export function Table<T>({ label, source, columns, empty, id, onOpen }: { label: string; source: Source<T>; columns: Column<T>[]; empty: ReactNode; id: (row: T) => string; onOpen?: (row: T) => void }) {
  const { t } = usePrefs();
  if (source.isPending) return <Skeleton />;
  if (source.error && !source.rows.length) return <Trouble error={source.error} retry={() => void source.refetch()} />;
  if (!source.rows.length) return <>{empty}</>;
  return (
    <>
      <div className="relative overflow-x-auto" tabIndex={0} role="region" aria-label={label}>
        <table className="w-full text-left">
          <thead className="text-sm text-muted">
            <tr>
              {columns.map((column, index) => (
                <th key={index} scope="col" className={cx("px-4 py-2 font-medium whitespace-nowrap", column.right && "text-right", column.from && FROM[column.from])}>
                  {column.head || <span className="sr-only">{t("word.actions")}</span>}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {source.rows.map((row) => (
              <tr key={id(row)} className={cx("border-t border-line", onOpen && "cursor-pointer hover:bg-raised")} onClick={onOpen && (() => onOpen(row))}>
                {columns.map((column, index) => (
                  <td key={index} className={cx("px-4 py-2.5 align-middle", column.right && "nums text-right whitespace-nowrap", column.wide && "min-w-40 wrap-anywhere", column.from && FROM[column.from])}>{column.cell(row)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {source.hasNextPage && (
        <div className="border-t border-line p-3 text-center">
          <Button small busy={source.isFetchingNextPage} onClick={() => void source.fetchNextPage?.()}>{t("do.more")}</Button>
        </div>
      )}
    </>
  );
}
