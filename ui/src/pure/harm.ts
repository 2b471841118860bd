// What a rollout has cost, counted in requests.

import type { Point, Rollout } from "../api/types.ts";

export interface Harm {
  requests: number;
  failed: number;
  /** Failures beyond stable's rate; nothing where there is nothing to compare with. */
  excess: number | null;
  stableRate: number | null;
  /** How long the new release had traffic until it was put back, in milliseconds. */
  exposed: number | null;
  /** From the first to the last point, in milliseconds. */
  whole: number | null;
}

export function harm(rollout: Rollout, points: readonly Point[]): Harm {
  const most = points.reduce((best, point) => (point.canary.requests > best.canary.requests ? point : best), {
    canary: rollout.canary,
    stable: rollout.stable,
  });
  const { canary, stable } = most;
  const stableRate = stable.requests > 0 ? stable.failed / stable.requests : null;
  const first = points.find((point) => point.canary.requests > 0);
  const back = first && points.find((point) => point.at > first.at && point.intended === 0);
  const ended = back?.at ?? rollout.ended ?? points.at(-1)?.at;
  const [begin, end] = [points[0], points.at(-1)];
  return {
    requests: canary.requests,
    failed: canary.failed,
    excess: stableRate === null ? null : Math.max(0, canary.failed - canary.requests * stableRate),
    stableRate,
    exposed: first && ended !== undefined ? Math.max(0, ended - first.at) : null,
    whole: begin && end ? end.at - begin.at : null,
  };
}
