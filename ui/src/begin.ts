import { mount } from "svelte";
import { get } from "./api/client.ts";
import type { Rollout } from "./api/types.ts";
import App, { type First } from "./App.svelte";
import { live } from "./live/live.svelte.ts";
import { route } from "./pure/route.ts";
import { session } from "./session.svelte.ts";

/** What is answered within so many milliseconds is drawn at once; else the page says meanwhile that it reads. */
const SOON = 300;

/** The rollout at this address and what draws it; nothing for what a page reads by itself, and says what goes wrong. */
async function about(): Promise<First> {
  const here = route(location.pathname, location.search);
  if (here.page !== "rollout") {
    await live.start();
    return null;
  }
  const [rollout, { default: Page }] = await Promise.all([get<Rollout>(`/api/rollouts/${encodeURIComponent(here.id)}`), import("./pages/Rollout.svelte")]);
  return { rollout, Page };
}

export async function begin(): Promise<void> {
  await session.look();
  const late = new Promise<null>((done) => setTimeout(() => done(null), SOON));
  const first = session.who ? await Promise.race([about().catch(() => null), late]) : null;
  const target = document.getElementById("page");
  target?.replaceChildren();
  if (target) mount(App, { target, props: { first } });
}
