/** The four dialects as the playground speaks them: the request, what of the stream is text, and the same in curl and SDK form. */
export type Dialect = "openai_chat" | "openai_responses" | "anthropic_messages" | "gemini";
export type Ask = { model: string; prompt: string; system: string; most: number; origin: string; key: string };
type Json = Record<string, unknown>;
const read = (value: unknown, ...path: (string | number)[]): unknown => path.reduce<unknown>((at, step) => (at !== null && typeof at === "object" ? (at as Json)[step] : undefined), value);
const text = (value: unknown) => (typeof value === "string" ? value : "");

type Way = { label: string; path: (ask: Ask) => string; head: (key: string) => Record<string, string>; body: (ask: Ask) => Json; delta: (event: unknown) => string; python: (ask: Ask) => string };

const py = JSON.stringify;
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

export const WAYS: Record<Dialect, Way> = {
  openai_chat: {
    label: "OpenAI Chat Completions",
    path: () => "/v1/chat/completions",
    head: bearer,
    body: (ask) => ({ model: ask.model, stream: true, stream_options: { include_usage: true }, max_completion_tokens: ask.most, messages: [...(ask.system ? [{ role: "system", content: ask.system }] : []), { role: "user", content: ask.prompt }] }),
    delta: (event) => text(read(event, "choices", 0, "delta", "content")),
    python: (ask) => `from openai import OpenAI\n\nclient = OpenAI(base_url=${py(`${ask.origin}/v1`)}, api_key=${py(ask.key)})\nstream = client.chat.completions.create(\n    model=${py(ask.model)}, stream=True, max_completion_tokens=${ask.most},\n    messages=[${ask.system ? `{"role": "system", "content": ${py(ask.system)}}, ` : ""}{"role": "user", "content": ${py(ask.prompt)}}],\n)\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="")`,
  },
  openai_responses: {
    label: "OpenAI Responses",
    path: () => "/v1/responses",
    head: bearer,
    body: (ask) => ({ model: ask.model, stream: true, max_output_tokens: ask.most, ...(ask.system ? { instructions: ask.system } : {}), input: ask.prompt }),
    delta: (event) => (read(event, "type") === "response.output_text.delta" ? text(read(event, "delta")) : ""),
    python: (ask) => `from openai import OpenAI\n\nclient = OpenAI(base_url=${py(`${ask.origin}/v1`)}, api_key=${py(ask.key)})\nstream = client.responses.create(\n    model=${py(ask.model)}, stream=True, max_output_tokens=${ask.most},${ask.system ? ` instructions=${py(ask.system)},` : ""}\n    input=${py(ask.prompt)},\n)\nfor event in stream:\n    if event.type == "response.output_text.delta":\n        print(event.delta, end="")`,
  },
  anthropic_messages: {
    label: "Anthropic Messages",
    path: () => "/v1/messages",
    head: (key) => ({ "x-api-key": key, "anthropic-version": "2023-06-01" }),
    body: (ask) => ({ model: ask.model, stream: true, max_tokens: ask.most, ...(ask.system ? { system: ask.system } : {}), messages: [{ role: "user", content: ask.prompt }] }),
    delta: (event) => text(read(event, "delta", "text")),
    python: (ask) => `from anthropic import Anthropic\n\nclient = Anthropic(base_url=${py(ask.origin)}, api_key=${py(ask.key)})\nwith client.messages.stream(\n    model=${py(ask.model)}, max_tokens=${ask.most},${ask.system ? ` system=${py(ask.system)},` : ""}\n    messages=[{"role": "user", "content": ${py(ask.prompt)}}],\n) as stream:\n    for text in stream.text_stream:\n        print(text, end="")`,
  },
  gemini: {
    label: "Gemini",
    path: (ask) => `/v1beta/models/${ask.model.split("/").map(encodeURIComponent).join("/")}:streamGenerateContent?alt=sse`,
    head: (key) => ({ "x-goog-api-key": key }),
    body: (ask) => ({ ...(ask.system ? { systemInstruction: { parts: [{ text: ask.system }] } } : {}), contents: [{ role: "user", parts: [{ text: ask.prompt }] }], generationConfig: { maxOutputTokens: ask.most } }),
    delta: (event) => { const parts = read(event, "candidates", 0, "content", "parts"); return Array.isArray(parts) ? parts.filter((part) => read(part, "thought") !== true).map((part) => text(read(part, "text"))).join("") : ""; },
    python: (ask) => `from google import genai\n\nclient = genai.Client(api_key=${py(ask.key)}, http_options={"base_url": ${py(ask.origin)}})\nfor chunk in client.models.generate_content_stream(\n    model=${py(ask.model)}, contents=${py(ask.prompt)},\n    config={"max_output_tokens": ${ask.most}${ask.system ? `, "system_instruction": ${py(ask.system)}` : ""}},\n):\n    print(chunk.text or "", end="")`,
  },
};

const shell = (value: string) => `'${value.replaceAll("'", "'\\''")}'`;

export function curl(dialect: Dialect, ask: Ask): string {
  const way = WAYS[dialect];
  const heads = { ...way.head(ask.key), "content-type": "application/json" };
  return [`curl -N ${shell(ask.origin + way.path(ask))}`, ...Object.entries(heads).map(([name, value]) => `  -H ${shell(`${name}: ${value}`)}`), `  -d ${shell(JSON.stringify(way.body(ask)))}`].join(" \\\n");
}

/** The data of server-sent events, whatever pieces they come in. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = done ? "" : (blocks.pop() ?? "");
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data && data !== "[DONE]") yield data;
    }
    if (done) return;
  }
}
