// The page in a real browser, against a real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../tools/chromium.mjs";
import { Davy, Relay, until } from "./davy.mjs";
import { inFirstScreen, press, signIn, sound } from "./hands.mjs";
import { many } from "./many.mjs";

const WIDE = { width: 1280, height: 720 };
const NARROW = { width: 360, height: 740 };
const FIRST = [".hero .mark", ".hero .weights dl", ".hero .next", ".hero .actions"];

let davy, relay, browser, base;

before(async () => {
  davy = await Davy.start();
  relay = await Relay.to(davy.url);
  base = relay.url;
  browser = await launch();
  await Promise.all(["good", "bad", "quiet"].map((name) => davy.serve(name)));
  davy.load("good", 200);
  davy.load("bad", 200);
});

after(async () => {
  await browser?.close();
  relay?.stop();
  await davy?.stop();
});

/** A browser of its own in which somebody has signed in, for as long as the test lasts. */
async function visitor(t, token = davy.token, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, ...options });
  t.after(() => context.close());
  const opened = await open(context, options.allowed);
  await signIn(opened.page, base, token);
  return { context, ...opened };
}

test("nobody is shown anything before signing in, and a wrong secret says so", async (t) => {
  const context = await browser.newContext({ viewport: NARROW });
  t.after(() => context.close());
  const { page, complaints } = await open(context, (text) => text.includes("401"));
  await page.goto(`${base}/rollouts/none`);
  await page.getByRole("heading", { name: "Sign in to Davy" }).waitFor();
  await sound(page, "sign-in");
  await page.getByLabel("Sign-in code").fill("abcdefgh");
  assert.equal(await page.getByLabel("Sign-in code").inputValue(), "ABCD-EFGH");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").waitFor();
  await sound(page, "sign-in, refused");
  assert.deepEqual(complaints, []);
});

test("a good rollout is watched to its end, and taken back", async (t) => {
  const { page, complaints } = await visitor(t);
  const id = await davy.deploy("good", { version: "v2", steps: "20%, 50%, 100%", hold: "3s", bake: "60s" });
  await page.getByRole("link", { name: "good in production" }).click();
  await page.waitForURL(`**/rollouts/${id}`);
  await page.getByText(/^(Not proven|Proven safe)$/).first().waitFor();
  await inFirstScreen(page, FIRST);
  await page.getByText("20 %", { exact: true }).first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1", "after a move the heading has the focus");
  await page.getByText("Promoted", { exact: true }).first().waitFor({ timeout: 90_000 });
  await page.getByRole("heading", { name: "Closing in" }).waitFor();
  await press(page, "Roll back");
  await page.getByText("still runs: it gets all traffic at once").waitFor();
  await sound(page, "a rollback, opened");
  await page.getByRole("button", { name: "Roll back to v1" }).click();
  await page.locator(".page .mark.large", { hasText: "Rolled back" }).waitFor();
  await until("it is over", async () => (await davy.api(`/api/rollouts/${id}`)).state === "rolled-back");
  assert.deepEqual(complaints, []);
});

test("a bad rollout is taken back, and its harm is told in requests", async (t) => {
  const { page, complaints } = await visitor(t);
  const id = await davy.deploy("bad", { version: "v2", errors: "30%", steps: "10%, 100%", hold: "20s" });
  await page.goto(`${base}/rollouts/${id}`);
  await page.locator(".ended .mark", { hasText: "Rolled back" }).waitFor({ timeout: 90_000 });
  await page.getByText("Requests that failed on it").waitFor();
  const failed = Number((await page.locator(".ended dd").first().textContent()).replaceAll(",", ""));
  assert.ok(failed > 0 && failed < 200, `${failed} failed`);
  await page.getByText("It had traffic for").waitFor();
  await sound(page, "a rollout that ended");
  // The moment before: it was under way, and nothing can be done about the past.
  await page.getByRole("slider").fill("1");
  await page.getByText("As it was at").waitFor();
  await press(page, "Abort");
  await page.getByText("You look at the past").last().waitFor();
  await sound(page, "the past");
  await page.getByRole("button", { name: "Back to now" }).click();
  await page.locator(".ended").waitFor();
  assert.deepEqual(complaints, []);
});

test("without traffic it says so, and an abort says what it does and does it", async (t) => {
  const { page, complaints } = await visitor(t, davy.token, { viewport: NARROW, colorScheme: "dark" });
  const id = await davy.deploy("quiet", { version: "v2", steps: "10%, 100%" });
  await page.goto(`${base}/rollouts/${id}`);
  await page.getByText("Without traffic").first().waitFor();
  await inFirstScreen(page, FIRST);
  await sound(page, "a rollout without traffic, narrow and dark");
  await press(page, "Abort");
  await page.getByText("All traffic goes to stable (v1) at once.").waitFor();
  await sound(page, "an abort, opened");
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Abort", "Escape goes back to the button");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Abort: all traffic to stable" }).click();
  await page.getByText("Aborted", { exact: true }).first().waitFor();
  await until("it is over", async () => (await davy.api(`/api/rollouts/${id}`)).state === "aborted");
  assert.deepEqual(complaints, []);
});

test("a start signed out, and all that a viewer can open, write nothing on the console", async (t) => {
  const context = await browser.newContext({ viewport: WIDE });
  t.after(() => context.close());
  const { page, complaints } = await open(context);
  const id = await davy.deploy("quiet", { version: "v2", steps: "10%, 100%" });
  await until("it is judged", async () => (await davy.api(`/api/rollouts/${id}`)).verdict);
  await davy.act(id, "abort");
  await until("it is over", async () => (await davy.api(`/api/rollouts/${id}`)).state === "aborted");
  for (const path of ["/", "/settings", `/rollouts/${id}`]) {
    await page.goto(base + path);
    await page.getByRole("heading", { name: "Sign in to Davy" }).waitFor();
  }
  await signIn(page, base, await davy.tokenFor("viktor", "viewer", ["production"]));
  for (const path of ["/", "/history", "/settings", "/services/production/quiet", "/set-up", `/rollouts/${id}`]) {
    await page.goto(base + path);
    await page.locator("main h1").waitFor();
    await page.waitForFunction(() => !/Reading|Connecting/.test(document.querySelector("body")?.textContent ?? "Reading"));
  }
  for (const name of ["Logs of both versions", "Report"]) await page.locator("summary", { hasText: name }).click();
  await page.getByRole("button", { name: "Save as a file" }).waitFor();
  await page.waitForFunction(() => document.querySelectorAll("[role=log]").length === 2);
  await page.getByRole("slider").fill("1");
  await page.getByText("As it was at").waitFor();
  await page.goto(base);
  await page.locator(".who summary").click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in to Davy" }).waitFor();
  assert.deepEqual(complaints, []);
});

test("settings try what files name, and say what came of it", async (t) => {
  const { page, complaints } = await visitor(t);
  await page.goto(`${base}/settings`);
  const pick = async (section, button) => {
    await page.locator(section).getByLabel("Service").selectOption("production/good");
    await page.locator(section).getByRole("button", { name: button }).click();
  };
  await pick("#notifications", "Send a test");
  await page.getByText("production/good tells nobody").waitFor();
  await pick("#metrics", "Ask it now");
  await page.getByText("production/good reads no metrics of its own").waitFor();
  await page.getByRole("button", { name: "Verify the audit" }).click();
  await page.getByText(/It holds: \d+ events/).waitFor();
  await sound(page, "settings, tried");
  assert.deepEqual(complaints, []);
});

test("who may not act is told why, and the server refuses him, too", async (t) => {
  const { page, complaints } = await visitor(t, await davy.tokenFor("vera", "viewer"), { allowed: (text) => text.includes("403") });
  const id = await davy.deploy("quiet", { version: "v3", steps: "10%, 100%" });
  await page.goto(`${base}/rollouts/${id}`);
  await page.getByText("Without traffic").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Abort" }).getAttribute("aria-disabled"), "true");
  await press(page, "Abort");
  await page.getByText("This needs a deployer. You are signed in as vera, a viewer.").last().waitFor();
  const status = await page.evaluate(async (path) => (await fetch(path, { method: "POST", headers: { "davy-page": "1" } })).status, `/api/rollouts/${id}/abort`);
  assert.equal(status, 403);
  await page.goto(`${base}/settings`);
  await page.getByText("This needs an admin.").first().waitFor();
  await sound(page, "settings of a viewer");
  await davy.act(id, "abort");
  assert.deepEqual(complaints, []);
});

test("a lost connection says so and stops countdowns, and what happened meanwhile is there when it is back", async (t) => {
  const { page } = await visitor(t);
  const id = await davy.deploy("quiet", { version: "v2", steps: "10%, 100%" });
  await page.goto(`${base}/rollouts/${id}`);
  await page.locator(".when .time, .when .quiet").first().waitFor();
  relay.cut();
  t.after(() => relay.mend());
  await page.getByText("Connection lost").first().waitFor();
  await page.getByText("countdown stopped").first().waitFor();
  await press(page, "Abort");
  await page.getByText("The connection is lost: what you see may be old.").last().waitFor();
  await sound(page, "a lost connection");
  await davy.act(id, "abort");
  await until("it is over", async () => (await davy.api(`/api/rollouts/${id}`)).state === "aborted");
  relay.mend();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByText("Aborted", { exact: true }).first().waitFor();
});

test("eight tabs share one stream, and it goes on when the tab that reads it is closed", async (t) => {
  const { context, page, complaints } = await visitor(t);
  const tabs = [page];
  for (let more = 0; more < 7; more += 1) {
    const tab = await context.newPage();
    await tab.goto(base);
    tabs.push(tab);
  }
  for (const tab of tabs) await tab.getByText("Live", { exact: true }).waitFor();
  await until("one stream", () => relay.streams === 1);
  await tabs.shift().close();
  const id = await davy.deploy("quiet", { version: "v3", steps: "10%, 100%" });
  for (const tab of tabs) await tab.locator(`a[href="/rollouts/${id}"]`).waitFor();
  assert.equal(relay.streams, 1);
  await davy.act(id, "abort");
  for (const tab of tabs) await tab.locator(`a[href="/rollouts/${id}"]`).waitFor({ state: "detached" });
  assert.deepEqual(complaints, []);
});

test("a thousand services are all in the document, can be filtered, and a row that is looked at keeps the focus", async (t) => {
  const front = await many(davy.url, { times: 1000 });
  t.after(() => front.stop());
  const context = await browser.newContext({ viewport: WIDE });
  t.after(() => context.close());
  const { page, complaints } = await open(context);
  await signIn(page, front.url, davy.token);
  await page.locator("tbody tr").nth(999).waitFor({ state: "attached" });
  await sound(page, "a thousand services");
  await page.keyboard.press("/");
  await page.keyboard.type("service-77");
  await page.getByText(/11 of \d+/).waitFor();
  assert.equal(await page.locator("tbody tr").count(), 11);
  await page.getByRole("link", { name: "service-770", exact: true }).focus();
  await page.getByRole("searchbox").evaluate((field) => ((field.value = ""), field.dispatchEvent(new Event("input"))));
  await page.locator("tbody tr").nth(999).waitFor({ state: "attached" });
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "service-770");
  assert.deepEqual(complaints, []);
});

test("what others write is shown as text", async (t) => {
  const talk = new URL("talk.mjs", import.meta.url).pathname;
  await davy.serve("talk", { command: `"${process.execPath}" "${talk}" --port $PORT --version "<img src=x onerror=alert(1)>"` });
  const { page, complaints } = await visitor(t);
  await page.goto(`${base}/services/production/talk`);
  await page.getByText("<img src=x onerror=alert(1)>").first().waitFor();
  assert.equal(await page.locator("img").count(), 0);
  const id = await davy.deploy("talk", { command: `"${process.execPath}" "${talk}" --port $PORT --version "<b>two</b>"`, steps: "50%, 100%", hold: "60s" });
  await page.goto(`${base}/rollouts/${id}`);
  await page.getByText("Logs of both versions").click();
  await until("the canary talks", async () => {
    await davy.ask("talk", "/talk?lines=3");
    return (await page.getByText("line 0 <img src=x onerror=alert(1)>").count()) > 0;
  });
  assert.equal(await page.locator("img, b").count(), 0);
  // What was read stays: a long log is read once.
  await until("all that was said is kept", async () => {
    await davy.ask("talk", "/talk?lines=1000");
    return /[\d,]{5,} lines/.test(await page.locator("section .head").first().textContent());
  });
  assert.ok((await page.locator("[role=log] li").count()) <= 200);
  await page.getByRole("log").first().evaluate((box) => (box.scrollTop = 0));
  await page.getByText("Follow again").waitFor();
  await page.getByText("line 1 red").first().waitFor();
  await davy.act(id, "abort");
  assert.deepEqual(complaints, []);
});

test("every page is sound, wide and narrow, light and dark", async (t) => {
  await davy.cli("token", "create", "ci", "--role", "deployer");
  for (const [viewport, colorScheme] of [[WIDE, "light"], [NARROW, "light"], [WIDE, "dark"], [NARROW, "dark"]]) {
    const { context, page, complaints } = await visitor(t, davy.token, { viewport, colorScheme });
    for (const path of ["/", "/history", "/settings", "/services/production/good", "/set-up", "/nowhere"]) {
      await page.goto(base + path);
      await page.locator("main h1").waitFor();
      await page.waitForFunction(() => !/Reading/.test(document.querySelector("main")?.textContent ?? "Reading"));
      await sound(page, `${path} ${viewport.width} ${colorScheme}`);
    }
    await page.goto(`${base}/settings`);
    await page.getByRole("button", { name: "Make a token" }).click();
    await page.getByRole("button", { name: "Set a secret" }).click();
    await page.getByRole("button", { name: "Revoke ci" }).click();
    await sound(page, `settings, opened ${viewport.width} ${colorScheme}`);
    assert.deepEqual(complaints.filter((one) => !one.includes("404")), []);
    await context.close();
  }
});
