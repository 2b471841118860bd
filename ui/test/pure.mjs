// What the page says, as functions. `npm run unit` compiles them and says where they are.
import assert from "node:assert/strict";
import { test } from "node:test";

const from = (name) => import(`${process.env.PURE}/${name}.js`);
const words = await from("words");
const { offers } = await from("offers");
const { route } = await from("route");
const { lay } = await from("interval");
const { apart, band, seconds, ticks } = await from("chart");
const { harm } = await from("harm");
const { blocks } = await from("markdown");
const { sum } = await from("history");
const { chapters } = await from("why");

const rollout = (more = {}) => ({
  id: "r", service: "logo", environment: "production", state: "holding", step: 1, steps: [100, 500, 2500, 10000],
  weight: { intended: 500, observed: 490 }, outcome: null, request: "deploy", release: "two", from: "one", version: "v2",
  canary: { requests: 0, failed: 0 }, stable: { requests: 0, failed: 0 }, paused: null, verdict: null, from_version: "v1", cause: null, on_deadline: "pause", deadline_ms: 1_800_000, pause_limit_ms: 86_400_000, bake_ms: 900_000, ...more,
});

test("numbers read as a person reads them", () => {
  assert.deepEqual([0, 0.0005, 0.02, 0.255, 1].map(words.percent), ["0 %", "0.05 %", "2 %", "25.5 %", "100 %"]);
  assert.deepEqual([-0.005, 0.01].map((value) => words.points(value, true)), ["−0.5 points", "+1 point"]);
  assert.deepEqual([0, 41_001, 725_000, 10_800_000].map(words.clock), ["0:00", "0:42", "12:05", "3:00:00"]);
  assert.deepEqual([400, 42_000, 185_000, 7_500_000, 864_000_000].map(words.duration), ["0.4 s", "42 s", "3 min 5 s", "2 h 5 min", "10 days"]);
  assert.equal(words.count(1234567), "1,234,567");
  assert.deepEqual([-3, 0, Math.log(20), 30].map(words.odds), ["1 to 1", "1 to 1", "20 to 1", "more than a million to 1"]);
  assert.deepEqual([null, { requests: null, seconds: null }, { requests: 0, seconds: 60 }, { requests: 90, seconds: 60 }].map(words.rate), ["not known", "not known", "none", "1.5/s"]);
});

test("missing data has a word of its own and is never safe", () => {
  assert.equal(words.word(words.mark(rollout({ verdict: "blind" }))), "Unmeasured");
  assert.equal(words.word(words.mark(rollout({ verdict: "no-traffic" }))), "Without traffic");
  assert.equal(words.word(words.mark(rollout())), "Not judged yet");
  assert.equal(words.word(words.mark(rollout({ from: null }))), "Nothing to compare with");
});

test("what others write loses its power over the page", () => {
  assert.equal(words.plain("\u001b[31mred\u001b[0m \u001b]0;title\u0007x"), "red x");
  assert.equal(words.plain("a\u202eb\u0000c\td"), "a\ufffdb\ufffdc\td");
});

test("a release is called by what it runs", () => {
  assert.equal(words.called("2.0.1", "abc"), "2.0.1");
  assert.equal(words.called("davy logo --port $PORT --version v2 --error-rate 1%", "abc"), "v2");
  assert.equal(words.called('./logo --version="a b"', "abc"), "a b");
  assert.equal(words.called("node server.js", "0ed95f2fd199"), "0ed95f2fd199");
  assert.equal(words.called(null, "0ed95f2fd199"), "0ed95f2fd199");
});

test("of many steps those about the present one are shown", () => {
  const steps = Array.from({ length: 19 }, (_, index) => index);
  assert.deepEqual(words.path(steps.slice(0, 5), 2), [0, 1, 2, 3, 4]);
  assert.deepEqual(words.path(steps, 6), [0, null, 5, 6, 7, 8, null, 18]);
  assert.deepEqual(words.path(steps, 18), [0, null, 17, 18]);
});

test("an action says what it does, or why it cannot be done", () => {
  const lena = (role) => ({ name: "lena", role });
  const of = (list, action) => list.find((offer) => offer.action === action);
  const all = offers(rollout(), lena("approver"), null);
  assert.deepEqual(all.map((offer) => [offer.action, offer.barred]), [["promote", null], ["pause", null], ["abort", null]]);
  assert.match(of(all, "promote").consequences[0], /v2 goes to 100 % without waiting for proof; 25 % is skipped/);
  assert.match(of(all, "abort").consequences[0], /All traffic goes to stable \(v1\) at once/);
  assert.match(of(all, "pause").consequences.join(" "), /within 24 h/);
  const deployer = offers(rollout(), lena("deployer"), null);
  assert.equal(of(deployer, "promote").barred, "This needs an approver. You are signed in as lena, a deployer.");
  assert.equal(of(deployer, "abort").barred, null);
  assert.ok(offers(rollout(), lena("viewer"), null).every((offer) => offer.barred));
  assert.ok(offers(rollout(), lena("admin"), "The connection is lost.").every((offer) => offer.barred === "The connection is lost."));
  assert.match(of(offers(rollout({ state: "paused" }), lena("admin"), null), "resume").consequences[0], /has 30 min from then to be proven, or it pauses again/);
  assert.match(of(offers(rollout({ state: "paused", on_deadline: "rollback" }), lena("admin"), null), "resume").consequences[0], /or it is rolled back/);
  assert.deepEqual(offers(rollout({ state: "paused" }), lena("admin"), null).map((offer) => offer.action), ["promote", "resume", "abort"]);
  assert.ok(of(offers(rollout({ state: "starting" }), lena("admin"), null), "promote").barred);
  assert.deepEqual(offers(rollout({ state: "baking", outcome: "promoted" }), lena("admin"), null).map((offer) => offer.action), ["rollback"]);
  assert.deepEqual(offers(rollout({ state: "draining", outcome: "rolled-back" }), lena("admin"), null), []);
});

test("addresses mean pages", () => {
  assert.deepEqual(route("/", ""), { page: "home" });
  assert.deepEqual(route("/rollouts/a%2Fb", "?at=12"), { page: "rollout", id: "a/b", at: 12 });
  assert.deepEqual(route("/rollouts/a", "?at=-1"), { page: "rollout", id: "a", at: null });
  assert.deepEqual(route("/services/production/logo", ""), { page: "service", environment: "production", service: "logo" });
  assert.deepEqual(route("/services/production", ""), { page: "nowhere" });
  assert.deepEqual(route("/rollouts/%E0%A4%A", ""), { page: "rollout", id: "%E0%A4%A", at: null });
});

test("names that would run into one another are left out, the later one stays", () => {
  assert.deepEqual(apart([{ at: 0 }, { at: 1 }, { at: 5 }, { at: 12 }], 3), [{ at: 1 }, { at: 5 }, { at: 12 }]);
});

test("an interval and its limit are in one picture", () => {
  const laid = lay({ low: -0.005, high: 0.02, estimate: 0.001, limit: 0.004 });
  assert.ok(laid.low < laid.zero && laid.zero < laid.limit && laid.limit < laid.high && laid.high <= 1);
  const open = lay({ low: null, high: null, estimate: null, limit: null });
  assert.deepEqual([open.low, open.high, open.openLow, open.openHigh], [0, 1, true, true]);
  assert.equal(lay({ low: -0.5, high: 0.5, estimate: null, limit: 0.001 }).openHigh, true);
});

test("the band draws what is known, and its axis is round", () => {
  const point = (at, low, high, intended = 500) => ({ at, sequence: 1, intended, observed: null, canary: { requests: 1, failed: 0 }, stable: { requests: 1, failed: 0 }, kind: "undecided", difference: low === null ? null : { low, high }, limit: 0.02 });
  assert.equal(band([point(0, null), point(1000, -1, 1)], 0), null);
  const drawn = band([point(0, null, null, 0), point(1000, -1, 0.5), point(2000, -0.01, 0.05), point(3000, -0.01, 0.01, 2500)], 0);
  assert.deepEqual(drawn.points.map(({ at }) => at), [1, 2, 3]);
  assert.ok(drawn.points.every(({ low, high }) => low >= -drawn.most && high <= drawn.most));
  assert.deepEqual(drawn.weights.map(({ weight }) => weight), [0, 500, 2500]);
  assert.deepEqual(ticks(0.057, 2).map((tick) => tick.toFixed(2)), ["0.05"]);
  assert.deepEqual(seconds(130, 6), [30, 60, 90, 120]);
});

test("harm is counted in requests", () => {
  const point = (at, intended, requests, failed) => ({ at, intended, canary: { requests, failed }, stable: { requests: 1000, failed: 10 } });
  const told = harm(rollout({ ended: 9_000 }), [point(0, 0, 0, 0), point(1000, 500, 10, 1), point(4000, 500, 100, 6), point(5000, 0, 100, 6)]);
  assert.deepEqual([told.requests, told.failed, told.excess, told.exposed], [100, 6, 5, 4000]);
  assert.equal(harm(rollout(), []).excess, null);
});

test("the report becomes blocks of text and nothing else", () => {
  const found = blocks("# A <b>\n\ntext `code` **bold**\nmore\n\n- one\n- two\n\n| a | b \\| c |\n|---|---|\n| 1 | <script> |\n\n```\nraw **x**\n```\n");
  assert.deepEqual(found, [
    { kind: "heading", text: "A <b>" },
    { kind: "text", text: "text code bold more" },
    { kind: "list", items: ["one", "two"] },
    { kind: "table", head: ["a", "b | c"], rows: [["1", "<script>"]] },
    { kind: "code", text: "raw **x**" },
  ]);
});

test("the past in sum tells what was decided from what was not", () => {
  const list = [
    rollout({ outcome: "promoted" }), rollout({ outcome: "rolled-back", cause: "guard", why: "lena asked for it" }), rollout({ outcome: "rolled-back", cause: "guard" }),
    rollout({ outcome: "aborted", cause: "person" }), rollout({ outcome: "rolled-back", cause: null }), rollout({ outcome: "superseded", cause: "superseded" }), rollout({ outcome: null }), rollout({ outcome: "promoted", request: "rollback" }),
  ];
  const told = sum(list);
  assert.deepEqual([told.promoted, told.back, told.rate], [1, 4, 0.2]);
  assert.deepEqual(told.causes, [{ cause: "the gateway's guard found harm", count: 2 }, { cause: "a person aborted", count: 1 }, { cause: "not written down", count: 1 }]);
});

test("decisions stand out, and what came of each is folded under it", () => {
  const one = (sequence, follows) => ({ sequence, at: sequence, what: "something", why: null, follows });
  const told = chapters([one(1, false), one(2, true), one(3, false), one(4, false), one(5, true), one(6, true)]);
  assert.deepEqual(told.map(({ decision, course }) => [decision.sequence, course.map(({ sequence }) => sequence)]), [[1, [2]], [3, []], [4, [5, 6]]]);
  assert.deepEqual(chapters([one(1, true)]).length, 1, "what nothing came before stands for itself");
});
