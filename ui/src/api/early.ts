// What every page begins with is asked for before the code that draws it has come. Each answer is taken once, by whoever asks for its address.

import type { Ways } from "./types.ts";

/** So long, in milliseconds, an answer is worth taking; later on it is asked for anew. */
const FRESH = 5_000;
const answers = new Map<string, Promise<Response>>();

export const WAYS = "/api/session/ways";
export const SERVICES = "/api/services?limit=1000";
export const ROLLOUTS = "/api/rollouts?state=live&limit=1000";

const begin = (path: string): Promise<Response> => fetch(path, { cache: "no-store", redirect: "error" });

const keep = (path: string, answer: Promise<Response>): void => {
  answers.set(path, answer);
  // Who takes it is told what went wrong, and nobody else.
  answer.catch(() => undefined);
};

/** The answer that is on its way already. */
export function early(path: string): Promise<Response> | undefined {
  const answer = answers.get(path);
  answers.delete(path);
  return answer;
}

/** Asks for what the page at this address draws first. */
export function ahead(pathname: string): void {
  setTimeout(() => answers.clear(), FRESH);
  const rest = async (): Promise<Response> => {
    const answer = await begin(WAYS);
    const told = (await answer.clone().json()) as Ways;
    // To be refused is an error on the console: nothing else is asked before it is known that somebody is signed in.
    if (told.session) {
      const rollout = /^\/rollouts\/[^/]+(?=\/?$)/.exec(pathname)?.[0];
      for (const path of rollout ? [`/api${rollout}`, `/api${rollout}/timeline`] : [SERVICES, ROLLOUTS]) keep(path, begin(path));
    }
    return answer;
  };
  keep(WAYS, rest());
}
