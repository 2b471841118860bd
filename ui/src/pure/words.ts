// What things are called on the page, and how numbers read. No clock and no document here.

import type { OutcomeKind, PauseReason, Rollout, VerdictKind } from "../api/types.ts";

export type Mark = VerdictKind | OutcomeKind | "none" | "first" | "serving" | "set-aside";

const WORDS: Record<Mark, string> = {
  safe: "Proven safe",
  harmful: "Harmful",
  undecided: "Not proven",
  "no-traffic": "Without traffic",
  blind: "Unmeasured",
  none: "Not judged yet",
  first: "Nothing to compare with",
  promoted: "Promoted",
  "rolled-back": "Rolled back",
  aborted: "Aborted",
  superseded: "Superseded",
  removed: "Removed",
  serving: "Serving",
  "set-aside": "Set aside",
};

export const word = (mark: Mark): string => WORDS[mark];

const OVER = new Set(["promoted", "rolled-back", "aborted", "superseded", "removed"]);

/** Whether nothing of it is left to do; a bake is not over. */
export const isOver = (rollout: { state: string }): boolean => OVER.has(rollout.state);

/** What a rollout is to be marked with: how it ends if that is decided, else its verdict. */
export function mark(rollout: Rollout): Mark {
  if (rollout.outcome) return rollout.outcome;
  if (rollout.verdict) return rollout.verdict;
  return rollout.from === null && rollout.request === "deploy" && rollout.state !== "queued" ? "first" : "none";
}

const STATES: Record<string, string> = {
  queued: "waits for the rollout before it",
  starting: "starting instances",
  shifting: "moving traffic",
  holding: "holding",
  recovering: "getting the split back",
  paused: "paused",
  baking: "promoted, old release kept",
  reverting: "putting traffic back",
  settling: "settling",
  draining: "draining",
  removing: "removing instances",
  serving: "serving",
  "set-aside": "set aside",
  promoted: "promoted",
  "rolled-back": "rolled back",
  aborted: "aborted",
  superseded: "superseded",
  removed: "removed",
};

export const stateWords = (state: string): string => STATES[state] ?? state.replaceAll("-", " ");

export function pauseWords(why: PauseReason): string {
  switch (why.reason) {
    case "person":
      return `${why.by} paused it`;
    case "deadline":
      return `the step's deadline passed without proof: ${why.why}`;
    case "router":
      return `the router refused: ${why.why}`;
  }
}

/** As a sentence begins. */
export const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The judge's sentence without the verdict that it begins with, where that stands above it. */
export const unlabelled = (sentence: string): string => capital(sentence.replace(/(^|: )(?:safe|undecided|harmful|no traffic|blind): /i, "$1").replace(/\.;/g, ";").replace(/(\d) %/g, "$1\u00a0%"));

/** `1234567` as `1,234,567`. */
export function count(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

function trimmed(value: number, decimals: number): string {
  const text = value.toFixed(decimals);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A fraction as a percentage, with the digits that a person reads. */
export function percent(fraction: number): string {
  const value = 100 * fraction;
  const size = Math.abs(value);
  return `${trimmed(value, size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 4)} %`;
}

/** Basis points as a percentage. */
export const weight = (basisPoints: number): string => percent(basisPoints / 10_000);

/** A difference of rates: percent would be taken for a ratio. */
export function points(difference: number, signed = false): string {
  const text = percent(Math.abs(difference)).replace(" %", "");
  const sign = difference < 0 ? "−" : signed && difference > 0 ? "+" : "";
  return `${sign}${text} point${text === "1" ? "" : "s"}`;
}

/** Natural logarithm of evidence as odds. */
export function odds(ln: number): string {
  if (ln > Math.log(1e6)) return "more than a million to 1";
  const value = Math.exp(Math.max(ln, 0));
  return `${value >= 10 ? count(value) : trimmed(value, 1)} to 1`;
}

/** Milliseconds as a countdown: `0:42`, `12:05`, `3:00:00`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (value: number) => value.toString().padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Milliseconds in words: `0.4 s`, `42 s`, `3 min`, `2 h 5 min`, `12 days`. */
export function duration(ms: number): string {
  if (ms < 0) return duration(0);
  if (ms < 1_000) return `${trimmed(ms / 1000, ms < 100 ? 2 : 1)} s`;
  if (ms < 10_000) return `${trimmed(ms / 1000, 1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 600 && seconds % 60 !== 0) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** How long ago, roughly: it is looked at, not computed with. */
export function ago(at: number, now: number): string {
  const ms = now - at;
  if (ms < 5_000) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 48 * 3_600_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} days ago`;
}

/** Requests a second, as a person reads them. */
export function rate(traffic: { requests: number | null; seconds: number | null } | null | undefined): string {
  if (!traffic || traffic.requests === null || !traffic.seconds) return "not known";
  if (traffic.requests === 0) return "none";
  const value = traffic.requests / traffic.seconds;
  return `${value >= 100 ? count(value) : trimmed(value, value >= 10 ? 0 : value >= 1 ? 1 : 2)}/s`;
}

/** A name that is a digest, short enough to compare by eye. */
export const short = (id: string): string => (id.length > 24 ? `${id.slice(0, 22)}…` : id);

/**
 * What a release is called, from what it runs: a tag as it is; of a command the version that it is told; else the release's name.
 */
export function called(runs: string | null | undefined, id: string): string {
  if (!runs) return short(id);
  if (!/\s/.test(runs)) return short(runs);
  const told = /(?:^|\s)--?(?:version|tag)[=\s]+("[^"]*"|\S+)/.exec(runs)?.[1];
  return told ? short(told.replaceAll('"', "")) : short(id);
}

/** Text of others without what would steer a terminal: escape sequences go, other control characters are made visible. */
export function plain(text: string): string {
  return (
    text
      // eslint-disable-next-line no-control-regex
      .replace(/\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g, "")
      // eslint-disable-next-line no-control-regex
      .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd")
  );
}

/** The steps; of many, those about the present one, the first and the last. `null` stands for what is left out. */
export function path(steps: readonly number[], at: number): (number | null)[] {
  const indices = steps.map((_, index) => index);
  if (steps.length <= 7) return indices;
  const last = steps.length - 1;
  const near = new Set([0, at - 1, at, at + 1, at + 2, last].filter((index) => index >= 0 && index <= last));
  const shown: (number | null)[] = [];
  for (const index of indices) {
    if (near.has(index)) shown.push(index);
    else if (shown.at(-1) !== null) shown.push(null);
  }
  return shown;
}
