// A question to the set-up. It changes nothing, so nothing has to see to it that it is asked once only.

import { ask } from "../api/client.ts";

export async function look<T>(path: string, body: unknown): Promise<T> {
  const headers = { "davy-page": "1", "content-type": "application/json" };
  const response = await ask(path, { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });
  return response.json() as Promise<T>;
}
