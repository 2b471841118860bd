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
  const limit = interval.limit === null ? 0 : Math.abs(interval.limit);
  // The limit is what is looked at: what lies far beyond it may leave the picture.
  const most = limit > 0 ? 5 * limit : Infinity;
  const far = Math.min(most, Math.max(0, ...known));
  const near = Math.min(most, Math.max(0, ...known.map((value) => -value)));
  const span = far + near || 1;
  // Stable is never at the edge, also where everything lies on one side of it.
  const [below, above] = far + near === 0 ? [1, 1] : [near + 0.15 * span, far + 0.15 * span];
  const place = (value: number) => Math.min(1, Math.max(0, (value + below) / (below + above)));
  return {
    zero: place(0),
    low: interval.low === null ? 0 : place(interval.low),
    high: interval.high === null ? 1 : place(interval.high),
    estimate: interval.estimate === null ? null : place(interval.estimate),
    limit: interval.limit === null ? null : place(interval.limit),
    openLow: interval.low === null || interval.low < -below,
    openHigh: interval.high === null || interval.high > above,
  };
}
