// The report's Markdown, cut into blocks of plain text: nothing of it ever becomes markup.

export type Block =
  | { kind: "heading" | "text" | "code"; text: string }
  | { kind: "list"; items: string[] }
  | { kind: "table"; head: string[]; rows: string[][] };

/** Marks of emphasis and code go, a backslash before a mark goes. */
const bare = (text: string): string => text.replace(/\*\*(.+?)\*\*|`([^`]+)`/g, (_, bold, code) => bold ?? code).replace(/\\([\\`*_|<>#[\]{}()!~+.-])/g, "$1");

const cells = (line: string): string[] =>
  line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => bare(cell.trim()));

export function blocks(text: string): Block[] {
  const found: Block[] = [];
  const all = text.split("\n");
  for (let at = 0; at < all.length; at += 1) {
    const line = all[at] ?? "";
    const before = found.at(-1);
    if (line.trim() === "") {
      found.push({ kind: "text", text: "" });
    } else if (line.startsWith("```")) {
      const code: string[] = [];
      for (at += 1; at < all.length && !all[at]!.startsWith("```"); at += 1) code.push(all[at]!);
      found.push({ kind: "code", text: code.join("\n") });
    } else if (/^#{1,6} /.test(line)) {
      found.push({ kind: "heading", text: bare(line.replace(/^#+ /, "")) });
    } else if (/^\s*[-*] /.test(line)) {
      const item = bare(line.replace(/^\s*[-*] /, ""));
      if (before?.kind === "list") before.items.push(item);
      else found.push({ kind: "list", items: [item] });
    } else if (line.trim().startsWith("|") && /^[\s|:-]+$/.test(all[at + 1] ?? "")) {
      const head = cells(line);
      const rows: string[][] = [];
      for (at += 2; at < all.length && all[at]!.trim().startsWith("|"); at += 1) rows.push(cells(all[at]!));
      at -= 1;
      found.push({ kind: "table", head, rows });
    } else if (before?.kind === "text" && before.text !== "") {
      before.text += ` ${bare(line.trim())}`;
    } else if (before?.kind === "list") {
      before.items.push(`${before.items.pop() ?? ""} ${bare(line.trim())}`);
    } else {
      found.push({ kind: "text", text: bare(line.trim()) });
    }
  }
  return found.filter((block) => block.kind !== "text" || block.text !== "");
}
