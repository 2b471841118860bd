// What a rollout's decisions are, apart from the course that each takes.

import type { Decision } from "../api/types.ts";

export interface Chapter {
  decision: Decision;
  /** What came of it until the next one, in order. */
  course: Decision[];
}

/**
 * What is no decision but comes of one, or is done again because the router or the platform stumbled. What the server says newly
 * is a decision until it stands here: nothing that matters is folded by mistake.
 */
const COURSE = [
  "the platform could not take the order",
  "the router refused the weight",
  "the router went back to stable by itself; the weight is asked for again",
  "the weight is asked for again",
  "neither harm nor safety is shown",
];

/** Each decision with its course; oldest first. */
export function chapters(decisions: readonly Decision[]): Chapter[] {
  const told: Chapter[] = [];
  for (const decision of decisions) {
    const before = told.at(-1);
    // With the same reason it only follows: traffic that is back, and the end, after the decision to go back.
    const follows = before && (COURSE.includes(decision.what) || (decision.why !== null && decision.why === before.decision.why));
    if (follows) before.course.push(decision);
    else told.push({ decision, course: [] });
  }
  return told;
}
