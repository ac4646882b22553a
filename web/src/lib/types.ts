/** The shapes of the admin and user API, as /openapi.json describes them. Times are microseconds, money is decimal text. */
export type Page<T> = { items: T[]; next_cursor: string | null };
export type Me = { user_id: string; name: string; is_admin: boolean; via: string; csrf_token: string | null };
export type Life = { id: string; created_at: number; updated_at: number; version: number };
export type Provider = Life & {
  name: string; channel: string; label: string | null; enabled: boolean; settings: Record<string, unknown>;
  credential_count: number; model_count: number;
};
export type Health = { state: "healthy" | "cooldown" | "disabled"; until: number | null; reason: string };
export type Credential = Life & {
  provider_id: string; provider_name: string; label: string | null; enabled: boolean; weight: number;
  fields: Record<string, string> | null; health: Health;
  rpm: number | null; tpm: number | null; max_in_flight: number | null; in_use: { requests: number; tokens: number; in_flight: number } | null;
};
export type Channel = {
  name: string; label: string; docs: string; base_url: string; needs: string[]; keyless: boolean;
  credential_fields: string[][]; optional_fields: string[]; dialects: string[]; operations: string[];
};
export type Model = Life & {
  provider_id: string; provider_name: string; model_id: string; display_name: string | null; enabled: boolean;
  max_output_tokens: number | null; pricing: Pricing | null; effective_pricing: Pricing | null; price_source: "own" | "bundled" | "none";
};
export type Pricing = Record<string, unknown>;
export type Alias = Life & { alias: string; provider_name: string; model_id: string; enabled: boolean; pricing: Pricing | null };
export type Member = { provider_name: string; model_id: string; tier: number; weight: number };
export type Route = Life & { name: string; strategy: string; enabled: boolean; hedge_percentile: number | null; members: Member[] };
export type User = Life & { name: string; is_admin: boolean; enabled: boolean; has_password: boolean; key_count: number };
export type Key = Life & {
  user_id: string; user_name: string; masked: string; label: string | null; enabled: boolean;
  expires_at: number | null; on_disconnect: string | null; last_used_at: number | null; api_key?: string;
};
export type Permission = Life & { user_name: string; provider_name: string | null; model_pattern: string };
export type FilePermission = Life & { user_name: string; provider_name: string };
export type RateLimit = Life & {
  user_name: string; model_pattern: string; rpm: number | null; rpd: number | null;
  total_tokens: number | null; total_tokens_window: number;
};
export type Quota = {
  id: string; user_id: string; user_name: string; quota: string | null; cost_used: string; reserved: string;
  remaining: string | null; version: number;
};
export type Figures = {
  attempts: number; failures: number; input_tokens: number; output_tokens: number; cache_read_tokens: number;
  cache_write_tokens: number; reasoning_tokens: number; cost_nano_usd: number; cost: string;
};
export type Overview = Figures & {
  since: number; until: number; success_rate: number | null; users: number; models: number; providers: number;
  in_flight: number; credentials: Record<"healthy" | "cooldown" | "disabled", number>;
};
export type Point = Figures & { starts_at: number; group: string | null };
export type Series = { period: "hour" | "day"; bucket_us: number; points: Point[] };
export type Top = Figures & { group: string; name: string };
export type Usage = {
  attempt_id: string; request_id: string; at: number; user_id: string; user_name: string; key_id: string; provider_name: string;
  credential_id: string; channel: string; dialect_in: string; dialect_out: string; operation: string; model_asked: string;
  model_served: string; route_name: string | null; input_tokens: number | null; output_tokens: number | null;
  cache_read_tokens: number | null; cache_write_5m_tokens: number | null; cache_write_1h_tokens: number | null;
  reasoning_tokens: number | null; audio_tokens: number | null; cost_nano_usd: number; cost: string; price_version: string;
  source: string; outcome: string; status: number; attempt_no: number; first_byte_ms: number | null; total_ms: number;
  streamed: boolean; excess_nano_usd: number;
};
export type Logged = {
  id: string; side: "downstream" | "upstream"; at: number; status: number; outcome: string; total_ms: number;
  envelope: Record<string, unknown>; request_body: string | null; response_body: string | null; truncated: boolean;
};
export type RequestRead = { request_id: string; downstream: Logged | null; upstream: Logged[] };
/** The decisions about a request; kept for every failure and a share of the others. Money is nano-USD here. */
export type Trail = {
  steps: Explanation["steps"]; route: string | null; strategy: string | null;
  rate_limits: { id: string; model_pattern: string; dimension: string; limit: number; cost: number | null; before: number | null; after: number | null }[];
  quota: { quota: number; before: number | null; after: number | null } | null;
  candidates: (Member & { alias: string | null })[];
  skipped: Explanation["skipped"];
  credentials: { attempt: number; provider_name: string; model_id: string; credential_id: string; verdict: string; reason: string }[];
};
export type Happened = { request_id: string; status: number | null; error: string | null; steps: string[]; error_text: string | null; trail: Trail | null };
export type InFlight = {
  request_id: string; method: string; path: string; user_name: string | null; operation: string; dialect: string;
  model_asked: string; provider_name: string | null; streamed: boolean; attempts: number; age_ms: number; answering: boolean; output_tokens: number;
};
/** How a stop goes, in milliseconds; `elapsed_ms` is null while nobody stops the server. */
export type StopPlan = { delay_ms: number; drain_ms: number; worker_ms: number; elapsed_ms: number | null };
export type InFlights = { count: number; limit: number; items: InFlight[]; stop: StopPlan };
export type Readiness = { status: string; state: string; in_flight: number; checks: Record<string, { status: string; detail?: string }> };
export type Shutdown = { id: string; at: number; signal_name: string | null; exit_code: number; duration_ms: number; report: Record<string, unknown> };
export type Audit = {
  id: string; at: number; actor_name: string; address: string | null; action: string; resource: string;
  resource_id: string | null; before: Record<string, unknown> | null; after: Record<string, unknown> | null;
};
export type Revision = {
  revision: number; at: number; actor_id: string | null; actor_name: string; address: string | null; action: string; row_count: number;
};
export type RevisionChange = {
  resource: string; id: string; name: string; action: "create" | "update" | "delete";
  before: Record<string, unknown> | null; after: Record<string, unknown> | null;
};
export type RevisionRead = Revision & { changes: RevisionChange[] };
export type RolledBack = { applied: boolean; revision: number; changes: RevisionChange[] };
/** How long whole answers took, in milliseconds; `counts` are pairs of a bucket's number and how many fell into it. */
export type Spread = { count: number; p50: number | null; p90: number | null; p95: number | null; p99: number | null; counts: [number, number][] };
export type Latency = {
  period: "hour" | "day"; bucket_us: number; bounds_ms: number[]; first_byte: Spread; total: Spread;
  points: { starts_at: number; first_byte: Spread; total: Spread }[];
};
export type HealthChange = { id: string; at: number; model: string | null; state: Health["state"]; until: number | null; reason: string | null };
export type HealthHistory = Page<HealthChange> & { before: HealthChange | null };
export type Setting = {
  name: string; type: string[]; value: string | number | boolean | null; default: string | null; in_force: string | null;
  origin: string; needs_restart: boolean; text: string;
};
export type Imported = {
  applied: boolean; created: number; updated: number; same: number;
  changes: { table: string; name: string; action: string; fields: string[] }[];
  diff: RevisionChange[];
};
export type Explanation = {
  allowed: boolean; status: number; code: string | null; steps: { step: string; ok: boolean; text: string }[];
  route: string | null; strategy: string | null;
  candidates: { provider_name: string; model_id: string; tier: number; weight: number; support: string; cost_bound: string | null }[];
  skipped: { provider_name: string; model_id: string; reason: string }[];
};
export type OwnModel = { id: string; kind: string; provider_name: string | null; display_name: string | null };
export type Pulled = { provider_name: string; added: number; items: { model_id: string; display_name: string | null; known: boolean }[] };
export type Tested = { ok: boolean; status: number | null; verdict: string; reason: string; latency_ms: number; models: number | null };
