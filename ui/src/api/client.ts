// The one place that asks the server.

import { early } from "./early.ts";

/** What the server answered in place of what was asked for (RFC 9457), or that it did not answer. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  readonly retry: number | null;

  constructor(status: number, code: string, detail: string, hint: string, retry: number | null = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.retry = retry;
  }
}

/** Told when the server no longer knows who asks. */
export const signedOut = new EventTarget();

async function problem(response: Response): Promise<Problem> {
  const retry = Number(response.headers.get("retry-after")) || null;
  try {
    const told = (await response.json()) as { code?: string; detail?: string; hint?: string };
    return new Problem(response.status, told.code ?? "", told.detail ?? response.statusText, told.hint ?? "", retry);
  } catch {
    return new Problem(response.status, "", `the server answered ${response.status}`, "", retry);
  }
}

export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await ((init.method ? undefined : early(path)) ?? fetch(path, { cache: "no-store", redirect: "error", ...init }));
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "", "the server cannot be reached", "it is tried again by itself");
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== "/api/session") signedOut.dispatchEvent(new Event("out"));
  throw await problem(response);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask(path, signal ? { signal } : {})).json() as Promise<T>;
}

export interface Page<T> {
  items: T[];
  /** The address of what follows. */
  next: string | null;
  /** The last event that the answer knew of. */
  sequence: number;
}

export async function page<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
  const response = await ask(path, signal ? { signal } : {});
  const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "");
  const sequence = Number(response.headers.get("davy-sequence")) || 0;
  return { items: (await response.json()) as T[], next: link?.[1] ?? null, sequence };
}

/** The whole list, page after page. */
export async function all<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
  const first = await page<T>(path, signal);
  const items = first.items;
  let next = first.next;
  while (next) {
    const more: Page<T> = await page<T>(next, signal);
    items.push(...more.items);
    next = more.next;
  }
  return { items, next: null, sequence: first.sequence };
}

export interface Told {
  /** The `etag` of what the person saw. */
  match?: string | undefined;
  method?: "POST" | "DELETE";
}

/** Asks the server to do something, once however often it is sent. */
export async function tell<T>(path: string, body: unknown, told: Told = {}): Promise<T> {
  const headers: Record<string, string> = { "davy-page": "1", "content-type": "application/json" };
  const method = told.method ?? "POST";
  if (method === "POST") headers["idempotency-key"] = crypto.randomUUID();
  if (told.match) headers["if-match"] = told.match;
  const response = await ask(path, { method, headers, ...(body === null ? {} : { body: JSON.stringify(body) }) });
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Lines of JSON as they come. */
export async function* lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T[]> {
  const response = await ask(path, { signal });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop() ?? "";
    const items = parts.filter((part) => part !== "").map((part) => JSON.parse(part) as T);
    if (items.length > 0) yield items;
  }
}
