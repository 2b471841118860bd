// What the page knows of the server, kept as it is there by the event stream.

import { SvelteMap } from "svelte/reactivity";
import { all } from "../api/client.ts";
import type { JournalRecord, Rollout, Service } from "../api/types.ts";
import { called, isOver } from "../pure/words.ts";
import { Stream, type Frame, type Link } from "./stream.ts";

const SAMPLES = 20;

export const serviceKey = (service: { environment: string; service: string }) => `${service.environment}/${service.service}`;

class Live {
  link = $state.raw<Link>({ state: "connecting", since: Date.now() });
  /** Rises whenever the connection is back: what pages have read besides may be old. */
  turn = $state(0);
  loaded = $state(false);
  trouble = $state.raw<unknown>(null);
  rollouts = new SvelteMap<string, Rollout>();
  services = new SvelteMap<string, Service>();
  /** The server's time in milliseconds, by the second; it stands while the connection is lost. */
  now = $state(Date.now());
  /** What releases run, as far as it was told. */
  runs = new SvelteMap<string, string>();
  onOut: () => void = () => {};

  #stream: Stream | null = null;
  #offsets: number[] = [];
  #frames: Frame[] = [];
  #asked = false;
  #journal = new Set<(record: JournalRecord) => void>();
  #ticking = 0;

  /** The first reading and the stream; nothing when it runs. */
  async start(): Promise<void> {
    if (this.#ticking === 0) this.#ticking = window.setInterval(() => this.#tick(), 250);
    if (this.#stream) return;
    const after = await this.load();
    if (this.#stream || after === null) return;
    this.#stream = new Stream(after, {
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
    this.rollouts.clear();
    this.services.clear();
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
        all<Service>("/api/services?limit=1000"),
        all<Rollout>("/api/rollouts?state=live&limit=1000"),
      ]);
      const keep = new Set(services.items.map(serviceKey));
      for (const key of this.services.keys()) if (!keep.has(key)) this.services.delete(key);
      for (const service of services.items) this.put(service);
      const live = new Set(rollouts.items.map((rollout) => rollout.id));
      for (const id of this.rollouts.keys()) if (!live.has(id)) this.rollouts.delete(id);
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
    if (this.runs.get(release) !== runs) this.runs.set(release, runs);
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

  /** At most one change of the page a frame, however much comes. */
  #take(frames: Frame[]): void {
    this.#frames.push(...frames);
    if (this.#asked) return;
    this.#asked = true;
    const apply = () => {
      this.#asked = false;
      const frames = this.#frames;
      this.#frames = [];
      const last = new Map<string, Frame>();
      for (const frame of frames) {
        if (frame.kind === "journal") for (const listener of this.#journal) listener(frame.data as JournalRecord);
        else if (frame.kind === "rollout") last.set(`r${(frame.data as Rollout).id}`, frame);
        else if (frame.kind === "service") last.set(`s${serviceKey(frame.data as Service)}`, frame);
      }
      for (const frame of last.values()) {
        if (frame.kind === "rollout") this.ended(frame.data as Rollout);
        else this.put(frame.data as Service);
      }
    };
    if (document.visibilityState === "hidden") setTimeout(apply, 250);
    else requestAnimationFrame(apply);
  }

  /** The last that was said of each rollout that ended while the page was open. */
  over = new SvelteMap<string, Rollout>();

  ended(rollout: Rollout): void {
    this.take(rollout);
    if (isOver(rollout)) this.over.set(rollout.id, rollout);
  }
}

export const live = new Live();
