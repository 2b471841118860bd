// What a browser fetches before a page stands, compressed. The figure comes last; more than 60 KB ends it with exit 1.
import { readdirSync, readFileSync } from "node:fs";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const MOST = 60 * 1024;
const dist = new URL("../dist/", import.meta.url);
const files = readdirSync(new URL("assets/", dist));
const brotli = (name) => brotliCompressSync(readFileSync(new URL(`assets/${name}`, dist)), { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).length;
const gzip = (name) => gzipSync(readFileSync(new URL(`assets/${name}`, dist)), { level: 9 }).length;
const of = (...names) => files.filter((file) => names.some((name) => file.startsWith(`${name}-`) || file.startsWith(`${name}.`)));
const first = files.filter((file) => /^(index|preload|chunk)/.test(file) || !/^(Rollout|Service|History|Settings|SetUp)[-.]/.test(file));

const loads = {
  "sign-in and home": first,
  "a rollout, the first page opened": [...first, ...of("Rollout")],
  "everything there is": files,
};
let worst = 0;
for (const [name, list] of Object.entries(loads)) {
  const sum = (size) => list.reduce((total, file) => total + size(file), 0);
  console.log(`${name}: ${(sum(brotli) / 1024).toFixed(1)} KB brotli, ${(sum(gzip) / 1024).toFixed(1)} KB gzip`);
  if (name !== "everything there is") worst = Math.max(worst, sum(brotli));
}
console.log(`first load: ${(worst / 1024).toFixed(1)} KB of at most ${MOST / 1024} KB`);
process.exitCode = worst > MOST ? 1 : 0;
