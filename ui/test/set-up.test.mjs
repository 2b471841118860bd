// A service is set up in a real browser, against a real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../tools/chromium.mjs";
import { Davy, until } from "./davy.mjs";
import { signIn, sound } from "./hands.mjs";

const WIDE = { width: 1280, height: 720 };
const NARROW = { width: 360, height: 740 };
const HOSTILE = "<img src=x onerror=alert(1)>";

let davy, browser;

before(async () => {
  davy = await Davy.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await davy?.stop();
});

async function visitor(token, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, ...options });
  const opened = await open(context, options.allowed);
  await signIn(opened.page, davy.url, token);
  await opened.page.goto(`${davy.url}/set-up`);
  return { context, ...opened };
}

/** What is written down: it is not to change before somebody applies. */
async function written() {
  const answer = await fetch(`${davy.url}/api/rollouts`, { headers: { authorization: `Bearer ${davy.token}` } });
  return `${answer.headers.get("davy-sequence")} ${await answer.text()} ${(await davy.api("/api/deeds?limit=1000")).length}`;
}

/** Wide and narrow, light and dark. */
async function everywhere(page, what) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const size of [WIDE, NARROW]) {
      await page.setViewportSize(size);
      await sound(page, `${what}, ${colorScheme}, ${size.width}`);
    }
  }
  await page.setViewportSize(WIDE);
}

/** By keyboard: the next thing with this name gets the focus and is pressed. */
async function press(page, name) {
  const wanted = page.getByRole("button", { name, exact: true });
  for (let left = 80; left > 0; left -= 1) {
    if (await wanted.evaluate((button) => button === document.activeElement)) return page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab never comes to ${name}`);
}

/** By keyboard: writes into a field. */
async function write(page, label, text) {
  await page.getByLabel(label, { exact: true }).focus();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

test("a service is set up by keyboard; nothing is changed before it is applied, and the draft survives a reload", async () => {
  const { context, page, complaints } = await visitor(davy.token);
  const before = await written();
  await page.getByText("processes are not listed").waitFor();
  await everywhere(page, "what is set up");
  await press(page, "For a program on the server's machine");
  await page.getByRole("heading", { name: "How it runs" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), "step-title", "a step's heading has the focus");
  await write(page, "Name", "Not A Name");
  const name = page.getByLabel("Name", { exact: true });
  await page.locator("#field-service-wrong").getByText(/^E\d+/).waitFor();
  assert.equal(await name.getAttribute("aria-invalid"), "true");
  assert.ok((await name.getAttribute("aria-describedby")).includes("field-service-wrong"));
  await everywhere(page, "a form with errors");
  await write(page, "Name", "shop");
  await write(page, "Command", `"${davy.binary}" logo --port $PORT --version v1 --error-rate 0%`);
  await write(page, "Folder", davy.folder);
  await write(page, "Health path", "/healthz");
  await page.getByText("Nothing is wrong with it").waitFor();
  await page.getByText("More: health, route, resources").click();
  await write(page, "Host", "shop.test");
  await write(page, "Variables", "COLOR=blue\nDB_PASSWORD=hunter2");
  await page.getByText("Nothing is wrong with it").waitFor();
  await page.reload();
  await page.getByText("This draft was kept in your browser").waitFor();
  assert.equal(await name.inputValue(), "shop");
  await page.getByText("More: health, route, resources").click();
  assert.equal(await page.getByLabel("Host", { exact: true }).inputValue(), "shop.test");
  assert.equal(await page.getByLabel("Variables", { exact: true }).inputValue(), "COLOR=blue", "what looks like a secret is not kept");
  assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes("hunter2"));
  await everywhere(page, "a form");

  await press(page, "Check it");
  await page.getByText(/would (be copied|run)/).waitFor();
  await page.getByText("nothing runs that could be asked").waitFor();
  await page.getByText("a version that fails 5 % of its requests").waitFor();
  await write(page, "Hold", "banana");
  await page.locator("#field-hold-wrong").waitFor();
  await write(page, "Hold", "1s");
  await write(page, "Bake", "1s");
  await page.getByLabel(/^Requests a second/).fill("40");
  await page.getByText("At 40 requests/s").first().waitFor();
  await everywhere(page, "checks and forecast");

  await press(page, "Review it");
  await page.getByRole("heading", { name: "What would be set up" }).waitFor();
  const file = await page.getByText("service: shop").textContent();
  assert.match(file, /hold: 1s/);
  await page.getByText("davy deploy shop --env production --watch").waitFor();
  await everywhere(page, "the review");
  assert.equal(await written(), before, "nothing was changed");
  await page.getByText("Nothing is wrong with it").waitFor();
  await press(page, "Apply");
  await page.waitForURL("**/rollouts/*");
  await until("it serves", async () => (await davy.api("/api/services/production/shop")).state === "serving");
  assert.equal(await page.evaluate(() => localStorage.getItem("davy-set-up")), null);

  // From what serves it differs by what is written.
  await page.goto(`${davy.url}/set-up`);
  await press(page, "For a program on the server's machine");
  await write(page, "Name", "shop");
  await write(page, "Command", `"${davy.binary}" logo --port $PORT --version v2`);
  await write(page, "Folder", davy.folder);
  await page.getByText("Nothing is wrong with it").waitFor();
  await page.getByRole("button", { name: "Review", exact: true }).click();
  await page.getByRole("heading", { name: "What would be different" }).waitFor();
  await page.getByRole("row", { name: /^route\.host shop\.test not set/ }).waitFor();
  await page.getByRole("button", { name: "Begin anew" }).click();
  await page.getByRole("heading", { name: "A blank form" }).waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test("what others wrote shows as text", async () => {
  const { context, page, complaints } = await visitor(davy.token);
  const compose = `services:\n  "${HOSTILE}":\n    image: shop:1\n    ports: ["80:8080"]\n    environment: { API_TOKEN: hunter2, GREETING: "${HOSTILE}" }\n    container_name: "${HOSTILE}"\n  other:\n    build: .\n`;
  await page.getByLabel("Its text").fill(compose);
  await page.getByRole("button", { name: "Read it" }).click();
  await page.getByText("It has 2 services").waitFor();
  await everywhere(page, "a choice");
  await page.getByRole("button", { name: `Set it up ${HOSTILE}` }).click();
  await page.getByRole("heading", { name: "How it runs" }).waitFor();
  assert.equal(await page.getByLabel("Variables", { exact: true }).inputValue(), `GREETING=${HOSTILE}`);
  assert.equal(await page.getByLabel("Secrets", { exact: true }).inputValue(), "API_TOKEN");
  await page.getByText("look at it: environment, and it looks like a secret").waitFor();
  await page.getByText(/is called img-src-x/).waitFor();
  await everywhere(page, "hostile text");
  await page.getByRole("button", { name: "Check it" }).click();
  await page.locator("li.bad", { hasText: "Secrets" }).waitFor();
  assert.ok(!(await page.content()).includes("hunter2"));
  assert.equal(await page.locator("img").count(), 0);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("who may not deploy is told so, and may look at what runs", async () => {
  const token = await davy.tokenFor("looker", "viewer");
  const { context, page, complaints } = await visitor(token);
  await page.getByText("You can look at what runs").waitFor();
  await page.getByText("processes are not listed").waitFor();
  const button = page.getByRole("button", { name: "For a container" });
  assert.equal(await button.getAttribute("aria-disabled"), "true");
  await button.dispatchEvent("click");
  await page.getByRole("heading", { name: "A blank form" }).waitFor();
  await sound(page, "barred");
  assert.deepEqual(complaints, []);
  await context.close();
});
