// Pictures of every page and of what can be opened on it, wide and narrow, light and dark, of a real server: in `screenshots/`.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Davy, until } from "../test/davy.mjs";
import { press, signIn } from "../test/hands.mjs";
import { launch, open } from "./chromium.mjs";

const out = join(import.meta.dirname, "../screenshots");
mkdirSync(out, { recursive: true });

const davy = await Davy.start();
const browser = await launch();
try {
  await Promise.all(["checkout", "logo", "prices", "search"].map((name) => davy.serve(name)));
  for (const name of ["checkout", "logo", "prices"]) davy.load(name, 120);
  await davy.tokenFor("ci", "deployer");
  const viewer = await davy.tokenFor("vera", "viewer");
  const bad = await davy.deploy("prices", { version: "v2", errors: "30%", steps: "20%, 100%", hold: "20s" });
  const held = await davy.deploy("checkout", { version: "v2", steps: "1%, 25%, 100%", deadline: "8s" });
  const quiet = await davy.deploy("search", { version: "v2", steps: "10%, 100%", hold: "60s" });
  const good = await davy.deploy("logo", { version: "v2", steps: "5%, 25%, 50%, 100%", hold: "45s" });
  const state = async (id) => (await davy.api(`/api/rollouts/${id}`)).state;
  await until("one is back", async () => (await state(bad)) === "rolled-back");
  await until("one waits", async () => (await state(held)) === "paused");
  await until("one has a verdict", async () => (await davy.api(`/api/rollouts/${good}`)).judged?.evidence.bounds.difference.high < 1);

  const pages = {
    home: ["/"],
    "rollout-good": [`/rollouts/${good}`],
    "rollout-abort": [`/rollouts/${good}`, (page) => press(page, "Abort")],
    "rollout-promote": [`/rollouts/${held}`, (page) => press(page, "Promote")],
    "rollout-quiet": [`/rollouts/${quiet}`],
    "rollout-bad": [`/rollouts/${bad}`],
    "rollout-open": [
      `/rollouts/${bad}`,
      async (page) => {
        for (const name of ["Logs of both versions", "Report", "As a table", "In the judge's words"]) await page.locator("summary", { hasText: name }).click();
        await page.getByRole("button", { name: "Save as a file" }).waitFor();
      },
    ],
    "rollout-past": [`/rollouts/${bad}`, (page) => page.getByRole("slider").fill("4").then(() => page.getByText("As it was").waitFor())],
    service: ["/services/production/logo"],
    history: ["/history"],
    settings: ["/settings"],
    "set-up": ["/set-up"],
    nowhere: ["/nowhere"],
  };
  for (const [theme, viewport] of ["light", "dark"].flatMap((theme) => [[theme, { width: 1280, height: 720 }], [theme, { width: 360, height: 740 }]])) {
    const context = await browser.newContext({ viewport, colorScheme: theme });
    const { page } = await open(context);
    const shoot = (name) => page.screenshot({ path: join(out, `${name}-${viewport.width}-${theme}.png`), fullPage: true });
    await page.goto(davy.url);
    await page.getByLabel("Sign-in code").waitFor();
    await shoot("sign-in");
    await signIn(page, davy.url, davy.token);
    for (const [name, [path, then]] of Object.entries(pages)) {
      await page.goto(davy.url + path);
      await page.locator("main h1").waitFor();
      await page.waitForLoadState("load");
      await page.waitForFunction(() => !/Reading|Connecting/.test(document.body.textContent));
      await then?.(page);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await shoot(name);
    }
    await context.close();
    const other = await browser.newContext({ viewport, colorScheme: theme });
    const seen = await open(other);
    await signIn(seen.page, davy.url, viewer);
    await seen.page.goto(`${davy.url}/rollouts/${quiet}`);
    await seen.page.locator(".actions").waitFor();
    await press(seen.page, "Abort");
    await seen.page.screenshot({ path: join(out, `rollout-viewer-${viewport.width}-${theme}.png`), fullPage: true });
    await other.close();
  }
  console.log(out);
} finally {
  await browser.close();
  await davy.stop();
}
