// The pure parts, compiled as they are and tested by Node itself.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const out = mkdtempSync(join(tmpdir(), "davy-page-"));
try {
  execFileSync("npx", ["tsc", "-p", "tsconfig.pure.json", "--outDir", out], { stdio: "inherit" });
  symlinkSync(join(import.meta.dirname, "../package.json"), join(out, "package.json"));
  execFileSync(process.execPath, ["--test", "test/pure.mjs", "test/pure-setup.mjs"], { stdio: "inherit", env: { ...process.env, PURE: join(out, "pure") } });
} finally {
  rmSync(out, { recursive: true });
}
