// What the page knows of the server, kept as it is there by the event stream.

import { all, Problem } from "../api/client.ts";
import { ROLLOUTS, SERVICES } from "../api/early.ts";
import type { JournalRecord, Rollout, Service } from "../api/types.ts";
import { called, isOver } from "../pure/words.ts";
import { Kept } from "./kept.svelte.ts";
import { Stream, type Frame, type Link } from "./stream.ts";

const SAMPLES = 20;
/** However much comes, the page changes only so often, in milliseconds: nobody reads faster, and each change is laid out and painted. */
const PACE = 200;
/** Until a server that could not be reached at first is tried again, in milliseconds. */
const AGAIN = 1_000;

export const serviceKey = (service: { environment: string; service: string }) => `${service.environment}/${service.service}`;

class Live {
  link = $state.raw<Link>({ state: "connecting", since: Date.now() });
  /** Rises whenever the connection is back: what pages have read besides may be old. */
  turn = $state(0);
  loaded = $state(false);
  trouble = $state.raw<unknown>(null);
  rollouts = new Kept<Rollout>();
  services = new Kept<Service>();
  /** The server's time in milliseconds, by the second; it stands while the connection is lost. */
  now = $state(Date.now());
  /** The same by the minute, for what is many: a thousand rows do not change each second. */
  minute = $derived(Math.floor(this.now / 60_000) * 60_000);
  /** What releases run, as far as it was told. */
  runs = new Kept<string>();
  onOut: () => void = () => {};

  #stream: Stream | null = null;
  #offsets: number[] = [];
  #fresh = new Map<string, Frame>();
  #asked = false;
  #applied = 0;
  #journal = new Set<(record: JournalRecord) => void>();
  #ticking = 0;
  #starting: Promise<void> | null = null;

  /** The first reading and the stream; nothing when it runs. */
  start(): Promise<void> {
    this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #start(): Promise<void> {
    if (this.#ticking === 0) this.#ticking = window.setInterval(() => this.#tick(), 250);
    if (this.#stream) return;
    const after = await this.load();
    if (after === null) {
      // A server that cannot be reached at first is a lost connection, too: it says so, and is tried again by itself.
      if (!(this.trouble instanceof Problem) || this.trouble.status !== 0) return;
      if (this.link.state !== "lost") this.link = { state: "lost", since: Date.now() };
      setTimeout(() => void this.start(), AGAIN);
      return;
    }
    // What was read is drawn before what comes is listened to.
    if (document.visibilityState === "visible") requestAnimationFrame(() => setTimeout(() => this.#listen(after), 0));
    else this.#listen(after);
  }

  #listen(after: number): void {
    // Signed out meanwhile.
    if (!this.loaded) return;
    this.#stream ??= new Stream(after, {
      frames: (frames) => this.#take(frames),
      link: (link) => {
        const back = link.state === "live" && this.link.state === "lost";
        this.link = link;
        if (back) {
          this.turn += 1;
          void this.load();
        }
      },
      out: () => this.onOut(),
    });
  }

  stop(all: boolean): void {
    this.#stream?.stop(all);
    this.#stream = null;
    this.rollouts.keep(new Set());
    this.services.keep(new Set());
    this.loaded = false;
    this.link = { state: "connecting", since: Date.now() };
  }

  get lost(): boolean {
    return this.link.state === "lost";
  }

  /** Calls back for each event of the journal; what is returned ends that. */
  journal(listener: (record: JournalRecord) => void): () => void {
    this.#journal.add(listener);
    return () => this.#journal.delete(listener);
  }

  async load(): Promise<number | null> {
    try {
      const [services, rollouts] = await Promise.all([
        all<Service>(SERVICES),
        all<Rollout>(ROLLOUTS),
      ]);
      this.services.keep(new Set(services.items.map(serviceKey)));
      for (const service of services.items) this.put(service);
      this.rollouts.keep(new Set(rollouts.items.map((rollout) => rollout.id)));
      for (const rollout of rollouts.items) this.take(rollout);
      this.trouble = null;
      this.loaded = true;
      return Math.min(services.sequence, rollouts.sequence);
    } catch (error) {
      this.trouble = error;
      return null;
    }
  }

  put(service: Service): void {
    this.services.set(serviceKey(service), service);
    if (service.stable && service.version) this.learn(service.stable, service.version);
  }

  learn(release: string, runs: string): void {
    this.runs.set(release, runs);
  }

  /** What a release is called. */
  called(release: string): string {
    return called(this.runs.get(release), release);
  }

  /** A rollout as the server sees it now, unless something newer is known. */
  take(rollout: Rollout): void {
    this.#offsets.push(rollout.now - Date.now());
    if (this.#offsets.length > SAMPLES) this.#offsets.shift();
    this.learn(rollout.release, rollout.version);
    if (rollout.from && rollout.from_version) this.learn(rollout.from, rollout.from_version);
    const known = this.rollouts.get(rollout.id);
    if (known && known.now > rollout.now) return;
    if (isOver(rollout)) this.rollouts.delete(rollout.id);
    else this.rollouts.set(rollout.id, rollout);
  }

  #tick(): void {
    if (this.link.state === "lost" || document.visibilityState === "hidden") return;
    // What took least long on its way says the time best.
    const offset = this.#offsets.length === 0 ? 0 : Math.max(...this.#offsets);
    const now = Date.now() + offset;
    if (Math.floor(now / 1000) !== Math.floor(this.now / 1000)) this.now = now;
  }

  /** What is rare is shown with the next frame; of what comes often, the last of each at the page's pace. */
  #take(frames: Frame[]): void {
    for (const frame of frames) {
      if (frame.kind === "journal") for (const listener of this.#journal) listener(frame.data as JournalRecord);
      else if (frame.kind === "rollout") this.#fresh.set(`r${(frame.data as Rollout).id}`, frame);
      else if (frame.kind === "service") this.#fresh.set(`s${serviceKey(frame.data as Service)}`, frame);
    }
    if (this.#asked || this.#fresh.size === 0) return;
    this.#asked = true;
    const wait = this.#applied + PACE - performance.now();
    if (wait > 0) setTimeout(() => this.#apply(), wait);
    else if (document.visibilityState === "hidden") setTimeout(() => this.#apply(), 0);
    else requestAnimationFrame(() => this.#apply());
  }

  #apply(): void {
    this.#asked = false;
    this.#applied = performance.now();
    const fresh = [...this.#fresh.values()];
    this.#fresh.clear();
    for (const frame of fresh) {
      if (frame.kind === "rollout") this.ended(frame.data as Rollout);
      else this.put(frame.data as Service);
    }
  }

  /** The last that was said of each rollout that ended while the page was open. */
  over = new Kept<Rollout>();

  ended(rollout: Rollout): void {
    this.take(rollout);
    if (isOver(rollout)) this.over.set(rollout.id, rollout);
  }
}

export const live = new Live();
