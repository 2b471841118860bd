// What a person does at the page, and what is looked at on every one.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Signs in with a token, as typed. */
export async function signIn(page, url, token) {
  await page.goto(url);
  await page.getByText("With a token instead").click();
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in with the token" }).click();
  await page.locator("header nav").waitFor();
}

/** Opens what an action would do. Those that are barred are pressed, too: they say why. */
export const press = (page, name) => page.getByRole("button", { name, exact: true }).first().dispatchEvent("click");

/** No violation of what axe knows, nothing wider than the screen. */
export async function sound(page, what) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${what}: ${wide} px wider than the screen`);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
  assert.deepEqual(told, [], what);
}

/** Whether all of these can be seen without scrolling. */
export async function inFirstScreen(page, selectors) {
  const high = page.viewportSize().height;
  for (const selector of selectors) {
    const box = await page.locator(selector).first().boundingBox();
    assert.ok(box && box.y >= 0 && box.y + box.height <= high, `${selector} ends at ${box && box.y + box.height} of ${high}`);
  }
}
