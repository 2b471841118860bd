// What the past says in sum.

import type { Rollout } from "../api/types.ts";

export interface Sum {
  ended: number;
  promoted: number;
  back: number;
  /** Promoted of those that were promoted or taken back, as a fraction; nothing without any. */
  rate: number | null;
  causes: { cause: string; count: number }[];
}

/** By what the server says: its reasons are sentences, the kinds of which begin or end alike. */
const CAUSES: [RegExp, string][] = [
  [/^the gateway's guard /, "the gateway's guard found harm"],
  [/ asked for the release before it$/, "a person went back"],
  [/ asked for it$/, "a person aborted"],
  [/^rollout .* took its place$/, "a newer rollout came"],
  [/^the new release failed: /, "the new release did not run"],
  [/^the step's deadline passed/, "not proven by the deadline"],
  [/^nobody answered the pause/, "nobody answered a pause"],
  [/^the router had gone back: /, "the router went back"],
];

export function cause(rollout: Rollout): string {
  const why = rollout.why ?? "";
  return CAUSES.find(([sentence]) => sentence.test(why))?.[1] ?? (rollout.outcome === "rolled-back" ? "the judge found harm" : "a person aborted");
}

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
