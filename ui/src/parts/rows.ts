// The rows of the services' table, written by hand: a thousand stand in the document within a fraction of what a component for each takes,
// and of those that change only the cells that do are touched. They are all there, so the browser's own search finds each.

import { flushSync, mount, unmount } from "svelte";
import type { Mark as Name } from "../pure/words.ts";
import Mark from "./Mark.svelte";

export interface Row {
  key: string;
  href: string;
  service: string;
  environment: string;
  version: string;
  /** The version in full. */
  title: string;
  traffic: string;
  mark: Name;
  since: string;
}

/** Rows that are drawn, or left undrawn while they are beyond the screen, together. */
export const GROUP = 50;

const marks = new Map<Name, Element>();
function drawn(name: Name): Node {
  let mark = marks.get(name);
  if (!mark) {
    const target = document.createElement("div");
    const made = mount(Mark, { target, props: { mark: name } });
    flushSync();
    mark = target.firstElementChild!.cloneNode(true) as Element;
    void unmount(made);
    marks.set(name, mark);
  }
  return mark.cloneNode(true);
}

function element<Kind extends keyof HTMLElementTagNameMap>(kind: Kind, attributes: Record<string, string>, ...inside: (Node | string)[]): HTMLElementTagNameMap[Kind] {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

let blank: HTMLTableRowElement | undefined;
const pattern = (): HTMLTableRowElement =>
  (blank ??= element(
    "tr",
    { role: "row", class: "line" },
    element("th", { role: "rowheader", scope: "row" }, element("a", {}, "-"), " ", element("span", { class: "quiet" }, "-")),
    element("td", { role: "cell", class: "version" }, "-"),
    element("td", { role: "cell", class: "number" }, "-"),
    element("td", { role: "cell" }),
    element("td", { role: "cell", class: "quiet since" }, "-"),
  ));

class Line {
  readonly row = pattern().cloneNode(true) as HTMLTableRowElement;
  #cells = this.row.cells;
  #link = this.#cells[0]!.firstChild as HTMLAnchorElement;
  #said: Partial<Row> = {};

  say(row: Row): void {
    const said = this.#said;
    if (said === row) return;
    const [name, version, traffic, state, since] = this.#cells as unknown as [HTMLElement, HTMLElement, HTMLElement, HTMLElement, HTMLElement];
    const write = (place: Node, was: string | undefined, text: string): void => {
      if (was !== text) place.textContent = text;
    };
    if (said.href !== row.href) this.#link.href = row.href;
    write(this.#link, said.service, row.service);
    write(name.lastChild!, said.environment, row.environment);
    write(version, said.version, row.version);
    if (said.title !== row.title) version.title = row.title;
    write(traffic, said.traffic, row.traffic);
    if (said.mark !== row.mark) state.replaceChildren(drawn(row.mark));
    write(since, said.since, row.since);
    this.#said = row;
  }
}

export class Rows {
  #table: HTMLTableElement;
  #lines = new Map<string, Line>();
  #groups: { body: HTMLElement; rows: HTMLElement[] }[] = [];

  constructor(table: HTMLTableElement) {
    this.#table = table;
  }

  show(rows: readonly Row[]): void {
    const held = document.activeElement as HTMLElement | null;
    const lines = new Map<string, Line>();
    const wanted: HTMLElement[] = [];
    for (const row of rows) {
      const line = this.#lines.get(row.key) ?? new Line();
      line.say(row);
      lines.set(row.key, line);
      wanted.push(line.row);
    }
    this.#lines = lines;
    const groups = Math.ceil(wanted.length / GROUP);
    for (let index = 0; index < groups; index += 1) {
      const part = wanted.slice(index * GROUP, (index + 1) * GROUP);
      const group = (this.#groups[index] ??= { body: element("tbody", { role: "rowgroup" }), rows: [] });
      if (group.rows.length !== part.length || part.some((row, place) => row !== group.rows[place])) {
        group.body.replaceChildren(...part);
        group.rows = part;
      }
      group.body.classList.toggle("many", groups > 2 && part.length === GROUP);
      if (!group.body.isConnected) this.#table.append(group.body);
    }
    for (const gone of this.#groups.splice(groups)) gone.body.remove();
    // A row that moved to another group has lost the focus on its way.
    if (held && held !== document.activeElement && this.#table.contains(held)) held.focus({ preventScroll: true });
  }
}
