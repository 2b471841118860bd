// The address bar: where the page is, and moving about without loading anew.

import { route } from "./pure/route.ts";

class Address {
  path = $state(location.pathname);
  search = $state(location.search);
  now = $derived(route(this.path, this.search));

  constructor() {
    addEventListener("popstate", () => this.#read());
  }

  #read(): void {
    this.path = location.pathname;
    this.search = location.search;
  }

  go(to: string, replace = false): void {
    const moved = new URL(to, location.href).pathname !== location.pathname;
    history[replace ? "replaceState" : "pushState"](null, "", to);
    this.#read();
    if (moved) scrollTo(0, 0);
  }

  /** A click on a link of this page stays on it; with a key or another button it is the browser's. */
  click = (event: MouseEvent): void => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element).closest("a");
    if (!link || link.origin !== location.origin || link.target || link.download || link.pathname.startsWith("/api/")) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    this.go(link.href);
  };
}

export const address = new Address();
