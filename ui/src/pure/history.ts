// What the past says in sum.

import type { Cause, Rollout } from "../api/types.ts";

export interface Sum {
  ended: number;
  promoted: number;
  back: number;
  /** Promoted of those that were promoted or taken back, as a fraction; nothing without any. */
  rate: number | null;
  causes: { cause: string; count: number }[];
}

const CAUSES: Record<Cause, string> = {
  judge: "the judge found harm",
  guard: "the gateway's guard found harm",
  person: "a person aborted",
  rollback: "a person went back",
  superseded: "a newer rollout came",
  canary: "the new release did not run",
  deadline: "not proven by the deadline",
  "pause-limit": "nobody answered a pause",
  router: "the router went back",
};

/** An older version of Davy did not write it down. */
export const cause = (rollout: Rollout): string => (rollout.cause ? CAUSES[rollout.cause] : "not written down");

const BACK = new Set(["rolled-back", "aborted"]);

export function sum(rollouts: readonly Rollout[]): Sum {
  const ended = rollouts.filter((rollout) => rollout.outcome !== null && rollout.request === "deploy");
  const promoted = ended.filter((rollout) => rollout.outcome === "promoted").length;
  const back = ended.filter((rollout) => BACK.has(rollout.outcome!));
  const causes = new Map<string, number>();
  for (const rollout of back) {
    const one = cause(rollout);
    causes.set(one, (causes.get(one) ?? 0) + 1);
  }
  const judged = promoted + back.length;
  return {
    ended: ended.length,
    promoted,
    back: back.length,
    rate: judged === 0 ? null : promoted / judged,
    causes: [...causes].map(([cause, count]) => ({ cause, count })).sort((a, b) => b.count - a.count || a.cause.localeCompare(b.cause)),
  };
}
