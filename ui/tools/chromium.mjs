// A real Chromium, and what every page must hold in it: no error on the console, no report of the policy, nothing from elsewhere.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("there is no Chromium: `scripts/setup` installs it, or name one with CHROMIUM=/path/to/chromium");
  // As root the sandbox cannot be made, and /dev/shm may be small.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page whose misdeeds are collected in `complaints`. `allowed` says which console errors are expected. */
export async function open(context, allowed = () => false) {
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed(message.text())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!["data:", "blob:"].includes(url.protocol) && page.url().startsWith("http") && url.origin !== new URL(page.url()).origin) complaints.push(`elsewhere: ${url}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  return { page, complaints };
}
