// The set-up's draft: what stands in it, where that comes from, and what of it a browser may keep.
import assert from "node:assert/strict";
import { test } from "node:test";

const { begin, form, groups, keep, kept, looksSecret, origin, QUESTIONS } = await import(`${process.env.PURE}/setup.js`);

const field = (key, value = "", more = {}) => ({ key, value, default: "", origin: "default", sure: true, ...more });
const fields = [
  field("service", "web", { origin: "the container `web`" }),
  field("environment", "", { default: "production" }),
  field("platform", "docker", { origin: "chosen" }),
  field("image", "web:1", { origin: "the container `web`" }),
  field("command"),
  field("port", "8080", { origin: "EXPOSE of the image `web:1`", sure: false }),
  field("health.path"),
  field("env", "COLOR=blue", { origin: "the container `web`" }),
  field("strategy", "", { default: "canary" }),
  field("steps", "", { default: "1%, 5%" }),
  field("user"),
];
const draft = () => begin("the container web", "c0ffee", { fields, notes: ["it goes on"] });

test("each field says where what stands in it comes from, and what stood there before", () => {
  const changed = { ...draft(), values: { ...draft().values, image: "web:2" } };
  assert.deepEqual(origin(changed, "service"), { words: "from the container `web`", look: false, instead: null });
  assert.deepEqual(origin(changed, "environment"), { words: "default: production", look: false, instead: null });
  assert.deepEqual(origin(changed, "port"), { words: "look at it: EXPOSE of the image `web:1`", look: true, instead: null });
  assert.deepEqual(origin(changed, "image"), { words: "you wrote it", look: false, instead: "web:1" });
});

test("few questions are asked at once; what was found is among them, the rest is folded", () => {
  const { first, more, limits } = groups(draft());
  assert.deepEqual(first, ["service", "environment", "image", "port", "health.path", "env"]);
  assert.deepEqual(more, ["command", "user"]);
  assert.deepEqual(limits, ["strategy", "steps"]);
  const rolling = { ...draft(), values: { ...draft().values, strategy: "rolling" } };
  assert.deepEqual(groups(rolling).limits, ["strategy"]);
  for (const key of [...first, ...more, ...limits]) assert.ok(QUESTIONS[key]?.label, key);
});

test("the server is asked about fields that it gave, a number and an address", () => {
  const asked = form({ ...draft(), values: { ...draft().values, nonsense: "x" }, address: " 127.0.0.1:80 ", rate: "2,5" });
  assert.deepEqual([asked.found, asked.address, asked.rate, "nonsense" in asked.values], ["c0ffee", null, 2.5, false]);
  const blank = form({ ...draft(), found: null, address: " 127.0.0.1:80 ", rate: "many" });
  assert.deepEqual([blank.address, blank.rate], ["127.0.0.1:80", null]);
});

test("a draft survives a reload without what looks like a secret", () => {
  const values = { ...draft().values, env: "COLOR=blue\nDB_PASSWORD=hunter2\nURL=postgres://a:hunter2@db/x", command: "./web --token=hunter2" };
  const text = keep({ ...draft(), values, step: 3 });
  assert.ok(!text.includes("hunter2"), text);
  const back = kept(text);
  assert.deepEqual([back.step, back.values.env, back.values.image, back.found], [3, "COLOR=blue", "web:1", "c0ffee"]);
  assert.ok(looksSecret("api_key", "x") && !looksSecret("KEYBOARD", "de"));
});

test("what somebody else left in the browser is no draft", () => {
  for (const text of [null, "", "null", "{}", "[1]", '{"version":1}', '{"version":2,"draft":{}}', '{"version":1,"draft":{"step":9}}']) {
    assert.equal(kept(text), null, String(text));
  }
  const broken = JSON.parse(keep(draft()));
  broken.draft.fields[0].value = { toString: "no" };
  assert.equal(kept(JSON.stringify(broken)), null);
});
