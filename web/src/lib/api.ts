/** The only door to the server: cookie session, CSRF header, If-Match, and errors as values with a code and a field. */
import { expire } from "./session";

export type Problem = { field?: string | null; message: string };

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field: string | null = null,
    readonly problems: Problem[] = [],
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;
type Options = { body?: unknown; query?: Query; version?: number; signal?: AbortSignal; text?: string; type?: string };

function csrf(): string {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith("gproxy_csrf="));
  return found ? decodeURIComponent(found.slice("gproxy_csrf=".length)) : "";
}

/** Whether this browser holds a session: its other half, the cookie with the token, is out of reach. */
export const hasSession = () => csrf() !== "";

export function queryText(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

async function problemOf(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string; field?: string; problems?: Problem[] } };
    return new ApiError(response.status, error.code, error.message, error.field ?? null, error.problems ?? []);
  } catch {
    return new ApiError(response.status, "unreadable", `${response.status} ${response.statusText}`);
  }
}

export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (method !== "GET") headers["x-csrf-token"] = csrf();
  if (options.version !== undefined) headers["if-match"] = `"${options.version}"`;
  if (options.text !== undefined) headers["content-type"] = options.type ?? "text/plain";
  else if (options.body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path + queryText(options.query ?? {}), {
      method,
      headers,
      body: options.text ?? (options.body === undefined ? undefined : JSON.stringify(options.body)),
      signal: options.signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  if (!response.ok) {
    if (response.status === 401 && path !== "/login") expire();
    throw await problemOf(response);
  }
  return response;
}

export async function api<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const response = await send(method, path, options);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => api<T>("GET", path, { query, signal });
export const at = (resource: string, id?: string) => `/admin/${resource}${id === undefined ? "" : `/${encodeURIComponent(id)}`}`;
