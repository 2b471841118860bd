// Each mark has a shape of its own: the colour is never needed. Two paths in a square of 16, and how each is drawn.

import type { Mark } from "./words.ts";

export type Tone = "safe" | "harm" | "open" | "none" | "blind";
export interface Shape {
  tone: Tone;
  /** Class and path; the second lies upon the first. */
  under: readonly [string, string];
  over: readonly [string, string];
}

const DISC = "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14z";
const RING = "M8 1.800a6.2 6.2 0 1 1 0 12.400a6.2 6.2 0 1 1 0-12.400z";
const OCTAGON = "M5 1h6l4 4v6l-4 4H5l-4-4V5z";
const NOTHING = ["", ""] as const;

const shape = (tone: Tone, under: readonly [string, string], over: readonly [string, string] = NOTHING): Shape => ({ tone, under, over });
const CHECK = ["cut", "M4.5 8.300l2.5 2.5 4.5-5"] as const;
const BANG = ["cut", "M8 4v5M8 10.800v1.4"] as const;
const DOT = shape("none", ["full", "M8 5.500a2.5 2.5 0 1 1 0 5a2.5 2.5 0 1 1 0-5z"]);

export const SHAPES: Record<Mark, Shape> = {
  safe: shape("safe", ["full", DISC], CHECK),
  promoted: shape("safe", ["full", DISC], CHECK),
  harmful: shape("harm", ["full", OCTAGON], BANG),
  "set-aside": shape("harm", ["full", OCTAGON], BANG),
  "rolled-back": shape("harm", ["full", OCTAGON], ["cut thin", "M6.5 4.500L4 7l2.5 2.500M4 7h5.500a2.2 2.2 0 0 1 0 4.400H7.5"]),
  undecided: shape("open", ["line", RING], ["full", "M8 1.800a6.2 6.2 0 0 1 0 12.400z"]),
  "no-traffic": shape("none", ["line dashed", RING]),
  blind: shape("blind", ["line", "M8 1l7 7-7 7-7-7z"], ["line thin", "M6 6.300a2 2 0 1 1 2.6 1.900c-.5.2-.6.5-.6 1.100M8 10.800v1.2"]),
  aborted: shape("none", ["full", "M3.5 1.500h9a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-9a2 2 0 0 1-2-2v-9a2 2 0 0 1 2-2z"], ["hole", "M5 5h6v6H5z"]),
  superseded: shape("none", ["line", "M3 3l5 5-5 5M8 3l5 5-5 5"]),
  removed: shape("none", ["line", "M3 3l10 10M13 3L3 13"]),
  serving: shape("none", ["line", "M2 8h10M8.5 4.500L12 8l-3.5 3.5"]),
  none: DOT,
  first: DOT,
};
