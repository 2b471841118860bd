// Who is signed in.

import { WAYS } from "./api/early.ts";
import { get, signedOut, tell } from "./api/client.ts";
import type { Session, Way, Ways } from "./api/types.ts";
import { live } from "./live/live.svelte.ts";

class SignedIn {
  /** `undefined` until it is known. */
  who = $state.raw<Session | null | undefined>(undefined);
  /** Why nobody is signed in any more, when somebody was. */
  ended = $state(false);
  /** Who vouches for people here. */
  ways = $state.raw<Way[]>([]);
  trouble = $state.raw<unknown>(null);

  constructor() {
    const out = () => {
      if (this.who) this.ended = true;
      this.who = null;
      live.stop(false);
    };
    signedOut.addEventListener("out", out);
    live.onOut = out;
  }

  async look(): Promise<void> {
    try {
      // Asked of an address that everybody may ask: to be refused is an error on the console of a browser.
      const told = await get<Ways>(WAYS);
      this.ways = told.ways;
      this.who = told.session;
      this.trouble = null;
    } catch (error) {
      this.trouble = error;
    }
  }

  async with(secret: { code: string } | { token: string }): Promise<void> {
    this.who = await tell<Session>("/api/session", secret);
    this.ended = false;
  }

  async out(): Promise<void> {
    await tell<void>("/api/session", null, { method: "DELETE" });
    live.stop(true);
    this.ended = false;
    this.who = null;
  }
}

export const session = new SignedIn();
