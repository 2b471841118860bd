// What a rollout's decisions are, apart from the course that each takes.

import type { Decision } from "../api/types.ts";

export interface Chapter {
  decision: Decision;
  /** What came of it until the next one, in order. */
  course: Decision[];
}

/** Each decision with its course; oldest first. */
export function chapters(decisions: readonly Decision[]): Chapter[] {
  const told: Chapter[] = [];
  for (const decision of decisions) {
    const before = told.at(-1);
    if (before && decision.follows) before.course.push(decision);
    else told.push({ decision, course: [] });
  }
  return told;
}
