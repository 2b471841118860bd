import { untrack } from "svelte";

/** A map that says that it has changed, not which of its entries: a signal for each of a thousand costs more than to read them all. */
export class Kept<Value> {
  #held = new Map<string, Value>();
  #changes = $state(0);

  get size(): number {
    void this.#changes;
    return this.#held.size;
  }

  get(key: string): Value | undefined {
    void this.#changes;
    return this.#held.get(key);
  }

  values(): Value[] {
    void this.#changes;
    return [...this.#held.values()];
  }

  set(key: string, value: Value): void {
    if (this.#held.get(key) === value) return;
    this.#held.set(key, value);
    this.#changed();
  }

  delete(key: string): void {
    if (this.#held.delete(key)) this.#changed();
  }

  /** Only these keys stay. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#held.keys()) if (!keys.has(key)) this.delete(key);
  }

  #changed(): void {
    untrack(() => (this.#changes += 1));
  }
}
