// The band of the difference over time: what lies where. No document here.

import type { Point } from "../api/types.ts";

export interface Band {
  /** The largest difference in the picture; it reaches as far below 0. */
  most: number;
  /** Seconds since the beginning, and the bounds as far as the picture goes. */
  points: { at: number; low: number; high: number; limit: number | null }[];
  /** Since when which weight was asked for, in seconds. */
  weights: { at: number; weight: number }[];
  end: number;
}

const known = (point: Point): boolean => point.difference !== null && (point.difference.low > -1 || point.difference.high < 1);

/** Nothing while too little is known to be drawn. */
export function band(points: readonly Point[], began: number): Band | null {
  const judged = points.filter(known);
  const last = judged.at(-1);
  if (judged.length < 2 || !last) return null;
  const values = judged.flatMap(({ difference }) => [difference!.low, difference!.high]).filter((value) => Math.abs(value) < 1);
  const limit = Math.max(0, ...judged.map((point) => point.limit ?? 0));
  const far = Math.max(0.0005, ...values.map(Math.abs));
  // The limit is what is looked at: what lies far beyond it leaves the picture, and so do bounds of which nothing is known.
  const most = 1.15 * (limit > 0 ? Math.min(Math.max(far, limit), 2.5 * limit) : far);
  const within = (value: number) => Math.min(most, Math.max(-most, value));
  const weights: Band["weights"] = [];
  for (const point of points) {
    if (weights.at(-1)?.weight !== point.intended) weights.push({ at: Math.max(0, point.at - began) / 1000, weight: point.intended });
  }
  return {
    most,
    points: judged.map(({ at, difference, limit }) => ({
      at: Math.max(0, at - began) / 1000,
      low: within(difference!.low),
      high: within(difference!.high),
      limit: limit === null || limit > most ? null : limit,
    })),
    weights,
    end: Math.max(1, last.at - began) / 1000,
  };
}

/** A rising series of round numbers up to `most`, about `count` of them. */
export function ticks(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? 10 * power;
  return Array.from({ length: Math.floor(most / step + 1e-9) }, (_, index) => (index + 1) * step);
}

/** The same for seconds, on the steps that clocks have. */
export function seconds(most: number, count: number): number[] {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
  const step = steps.find((size) => size >= most / count) ?? Math.ceil(most / count / 86400) * 86400;
  return Array.from({ length: Math.floor(most / step) }, (_, index) => (index + 1) * step);
}

/** Those that have at least so much between them, so that their names do not run into one another. */
export function apart<Item extends { at: number }>(items: readonly Item[], least: number): Item[] {
  const kept: Item[] = [];
  for (const item of items) {
    const before = kept.at(-1);
    // Of two that are too close the later one lasted longer, or is the present one.
    if (before && item.at - before.at < least) kept.pop();
    kept.push(item);
  }
  return kept;
}
