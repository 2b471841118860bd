// Where the parts of an interval lie on a line from 0 to 1, so that the limit and everything known fit.

export interface Interval {
  /** Nothing is known below when absent. */
  low: number | null;
  high: number | null;
  estimate: number | null;
  limit: number | null;
}

export interface Laid {
  zero: number;
  low: number;
  high: number;
  estimate: number | null;
  limit: number | null;
  openLow: boolean;
  openHigh: boolean;
}

export function lay(interval: Interval): Laid {
  const known = [interval.low, interval.high, interval.estimate, interval.limit].filter((value) => value !== null);
  const most = Math.max(...known.map(Math.abs), 0);
  // The limit is what is looked at: what lies far beyond it may leave the picture.
  const limit = interval.limit === null ? 0 : Math.abs(interval.limit);
  const half = 1.25 * (limit > 0 ? Math.min(Math.max(most, limit), 5 * limit) : most || 1);
  const place = (value: number) => Math.min(1, Math.max(0, 0.5 + value / (2 * half)));
  return {
    zero: 0.5,
    low: interval.low === null ? 0 : place(interval.low),
    high: interval.high === null ? 1 : place(interval.high),
    estimate: interval.estimate === null ? null : place(interval.estimate),
    limit: interval.limit === null ? null : place(interval.limit),
    openLow: interval.low === null || interval.low < -half,
    openHigh: interval.high === null || interval.high > half,
  };
}
