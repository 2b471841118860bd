// One event stream for all tabs of this browser. The tab that holds the lock reads it and passes on what comes; when it is
// closed, the next one takes the lock and goes on after the last event that was passed on.

export interface Frame {
  kind: string;
  id: number | null;
  data: unknown;
}

export interface Link {
  state: "connecting" | "live" | "lost" | "ended";
  /** When it came to this, by this machine's clock. */
  since: number;
}

type Message =
  | { type: "frames"; frames: Frame[]; last: number }
  | { type: "link"; link: Link; last: number }
  | { type: "who" }
  | { type: "out" };

/** The server says something every 10 s; nothing for so long, in milliseconds, is a lost connection. */
const SILENCE = 25_000;
const LOCK = "davy-stream";

export interface Heard {
  frames(frames: Frame[]): void;
  link(link: Link): void;
  out(): void;
}

export class Stream {
  #heard: Heard;
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("davy-stream") : null;
  #link: Link = { state: "connecting", since: Date.now() };
  #last: number;
  #at = Date.now();
  #leads = false;
  #stopped = new AbortController();
  #again: (() => void) | null = null;

  constructor(after: number, heard: Heard) {
    this.#heard = heard;
    this.#last = after;
    if (this.#channel) this.#channel.onmessage = (event: MessageEvent<Message>) => this.#take(event.data);
    this.#post({ type: "who" });
    void this.#stand(false);
    const watch = setInterval(() => this.#watch(), 5_000);
    const seen = () => document.visibilityState === "visible" && this.#watch();
    document.addEventListener("visibilitychange", seen);
    window.addEventListener("online", () => this.#again?.(), { signal: this.#stopped.signal });
    this.#stopped.signal.addEventListener("abort", () => {
      clearInterval(watch);
      document.removeEventListener("visibilitychange", seen);
      this.#channel?.close();
    });
  }

  /** Whether this tab is the one that reads. */
  get leads(): boolean {
    return this.#leads;
  }

  /** Reads no more. `all`: nor do the other tabs, because nobody is signed in any more. */
  stop(all: boolean): void {
    if (all) this.#post({ type: "out" });
    this.#stopped.abort();
  }

  async #stand(steal: boolean): Promise<void> {
    const locks = navigator.locks as LockManager | undefined;
    if (!locks || !this.#channel) return this.#read(this.#stopped.signal);
    const lost = new AbortController();
    const end = () => lost.abort();
    this.#stopped.signal.addEventListener("abort", end);
    try {
      const options = steal ? { steal: true } : { signal: this.#stopped.signal };
      await locks.request(LOCK, options, () => this.#read(lost.signal));
    } catch {
      // Another tab took the lock because this one had been silent, or the page goes.
      lost.abort();
      if (!this.#stopped.signal.aborted) void this.#stand(false);
    } finally {
      this.#leads = false;
      this.#stopped.signal.removeEventListener("abort", end);
    }
  }

  /** In a tab that only listens: whoever reads may hang. */
  #watch(): void {
    if (this.#leads || this.#link.state === "ended" || Date.now() - this.#at < SILENCE + 5_000) return;
    if (document.visibilityState !== "visible") return;
    this.#at = Date.now();
    this.#set({ state: "lost", since: Date.now() });
    void this.#stand(true);
  }

  #post(message: Message): void {
    if (!this.#stopped.signal.aborted) this.#channel?.postMessage(message);
  }

  #set(link: Link): void {
    if (link.state === this.#link.state) return;
    this.#link = link;
    this.#heard.link(link);
  }

  #take(message: Message): void {
    if (message.type === "who") {
      if (this.#leads) this.#post({ type: "link", link: this.#link, last: this.#last });
      return;
    }
    if (message.type === "out") return this.#heard.out();
    this.#at = Date.now();
    if (message.type === "link") this.#set(message.link);
    else this.#pass(message.frames);
    this.#last = Math.max(this.#last, message.last);
  }

  /** Nothing twice: what has a number that was passed on already is left out. */
  #pass(frames: Frame[]): void {
    const fresh = frames.filter((frame) => {
      if (frame.id === null) return true;
      if (frame.id <= this.#last) return false;
      this.#last = frame.id;
      return true;
    });
    if (fresh.length > 0) this.#heard.frames(fresh);
  }

  async #read(signal: AbortSignal): Promise<void> {
    this.#leads = true;
    const tell = (state: Link["state"]) => {
      this.#set({ state, since: Date.now() });
      this.#post({ type: "link", link: this.#link, last: this.#last });
    };
    for (let wait = 500; !signal.aborted; wait = Math.min(2 * wait, 4_000)) {
      const one = new AbortController();
      const end = () => one.abort();
      signal.addEventListener("abort", end);
      let heard = Date.now();
      const silence = setInterval(() => Date.now() - heard > SILENCE && one.abort(), 1_000);
      try {
        const headers: HeadersInit = { accept: "text/event-stream", "last-event-id": String(this.#last) };
        const path = `/api/events?live=true&after=${this.#last}`;
        const response = await fetch(path, { headers, signal: one.signal, cache: "no-store" });
        if (response.status === 401) {
          tell("ended");
          this.#post({ type: "out" });
          return this.#heard.out();
        }
        if (!response.ok || !response.body) throw new Error(`${response.status}`);
        tell("live");
        wait = 250;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        const parse = parser();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          heard = this.#at = Date.now();
          const frames = parse(value);
          // An empty message says that the one that reads is alive.
          this.#post({ type: "frames", frames, last: this.#last });
          this.#pass(frames);
        }
      } catch {
        // Said below: whatever it was, it is tried again.
      } finally {
        clearInterval(silence);
        signal.removeEventListener("abort", end);
      }
      if (signal.aborted) return;
      tell("lost");
      await new Promise<void>((done) => {
        this.#again = done;
        setTimeout(done, wait);
      });
      this.#again = null;
    }
  }
}

/** Cuts a stream of server-sent events into frames, however it is cut into pieces. */
export function parser(): (piece: string) => Frame[] {
  let rest = "";
  return (piece) => {
    const parts = (rest + piece).replaceAll("\r\n", "\n").split("\n\n");
    rest = parts.pop() ?? "";
    const frames: Frame[] = [];
    for (const part of parts) {
      let kind = "message";
      let id: number | null = null;
      const data: string[] = [];
      for (const line of part.split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const value = line.slice(colon + 1).replace(/^ /, "");
        const field = line.slice(0, colon);
        if (field === "event") kind = value;
        else if (field === "id") id = Number(value);
        else if (field === "data") data.push(value);
      }
      if (data.length > 0) frames.push({ kind, id, data: JSON.parse(data.join("\n")) });
    }
    return frames;
  };
}
