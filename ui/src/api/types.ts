// What the API says, as far as the page reads it. Weights in basis points, times in milliseconds since the Unix epoch.

export type Role = "viewer" | "deployer" | "approver" | "admin";
export type VerdictKind = "harmful" | "safe" | "undecided" | "no-traffic" | "blind";
export type OutcomeKind = "promoted" | "rolled-back" | "aborted" | "superseded" | "removed";
export type CauseKind =
  | "judge" | "guard" | "person" | "rollback" | "superseded" | "canary" | "deadline" | "pause-limit" | "router";

export interface Session {
  name: string;
  role: Role;
  environments: string[];
  expires: number | null;
  by: "code" | "token" | "oidc" | "github";
}

export interface Way {
  name: string;
  kind: "oidc" | "github";
  start: string;
}

export interface Counted {
  requests: number;
  failed: number;
}

export interface Counts {
  n: number;
  x: number;
  admitted: number;
}

export interface Pair {
  canary: Counts;
  stable: Counts;
}

export interface Proof {
  weight: number;
  margin: number;
  ln_e: number;
  ln_needed: number;
  proven: boolean;
  forecast: { requests: number; seconds: number | null } | null;
}

export interface Limit {
  rate: number;
  origin: "user" | "past";
  since_ms: number;
  standing: "clean" | "amber" | "stable-fails-too";
}

export interface Thresholds {
  canary_ms: number;
  stable_ms: number;
}

export type Measure = "relative" | "absolute" | "latency" | "slow-limit" | "budget" | { metric: number };

export interface Evidence {
  rollout: Pair;
  step: Pair;
  canary_rate: number | null;
  stable_rate: number | null;
  ln_e: number;
  ln_needed: number;
  amber: boolean;
  metrics: { measure: Measure; share: number; ln_e: number; ln_needed: number; since: Pair; thresholds?: Thresholds | null }[];
  causes: Measure[];
  suspect: Measure | null;
  promotion: Proof | null;
  speed?: { thresholds: Thresholds | null; counts: Pair; proof: Proof } | null;
  limit: Limit | null;
  slow_limit?: Limit | null;
  harm?: { budget: { excess?: number; hard?: number }; spent: number; ln_e: number | null; ln_needed: number | null } | null;
  bounds: { difference: { estimate: number | null; low: number; high: number }; odds_ratio_low: number };
}

export interface Verdict {
  kind: VerdictKind;
  epoch: number;
  weight: number;
  evidence: Evidence;
  because: string;
}

export type PauseReason =
  | { reason: "person"; by: string }
  | { reason: "deadline"; why: string }
  | { reason: "router"; why: string };

export interface Rollout {
  type: "rollout";
  id: string;
  service: string;
  environment: string;
  state: string;
  step: number;
  steps: number[];
  weight: { intended: number; observed: number | null };
  verdict: VerdictKind | null;
  judged: Verdict | null;
  paused: { why: PauseReason; since: number } | null;
  next: { what: string; at: number | null } | null;
  deadline: number | null;
  outcome: OutcomeKind | null;
  why: string | null;
  request: "deploy" | "rollback" | "remove";
  release: string;
  from: string | null;
  command: string[];
  by: string;
  began: number;
  canary: Counted;
  stable: Counted;
  aside: Counted;
  metrics: { name: string; canary: { of: number; failed: number }; stable: { of: number; failed: number }; blind: string | null }[];
  explained: string[];
  strategy: string;
  interrupts: boolean;
  preview: string[];
  router: string;
  stuck: string | null;
  now: number;
  ended?: number | null;
  promoted?: number | null;
  version?: string | null;
  from_version?: string | null;
  cause?: CauseKind | null;
  pause_limit_ms?: number | null;
  bake_ms?: number | null;
  on_deadline?: "pause" | "rollback" | null;
}

export interface Instance {
  id: string;
  release: string;
  address: string;
  health: string;
  restarts: number;
}

export interface Service {
  type: "service";
  service: string;
  environment: string;
  state: string;
  stable: string | null;
  weight: number | null;
  rollout: string | null;
  instances: Instance[];
  why?: string | null;
  version?: string | null;
  verdict?: VerdictKind | null;
  traffic?: { requests: number | null; seconds: number | null } | null;
  since?: number | null;
  needs?: string | null;
}

export interface ReleaseSeen {
  id: string;
  version: string;
  served: [number, number | null] | null;
  live: boolean;
  rollback: { seconds: number | null; why_not: string | null };
}

export interface ServiceDetail extends Service {
  host: string | null;
  path: string | null;
  command: string[];
  replicas: number;
  secrets: string[];
  router: string;
  rollouts: Rollout[];
  releases?: ReleaseSeen[];
}

export interface Point {
  at: number;
  sequence: number;
  intended: number;
  observed: number | null;
  canary: Counted;
  stable: Counted;
  kind: VerdictKind | null;
  difference: { low: number; high: number } | null;
  limit: number | null;
}

export interface Decision {
  sequence: number;
  at: number;
  what: string;
  why: string;
}

export interface Timeline {
  points: Point[];
  decisions: Decision[];
}

export interface Change {
  key: string;
  from: string | null;
  to: string | null;
}

export interface LogLine {
  at: number;
  release: string;
  instance: string;
  source: "stdout" | "stderr";
  line: string;
}

export interface Token {
  name: string;
  role: Role;
  environments: string[];
  created: number;
  by: string;
  expires: number | null;
  state: "active" | "expired" | "revoked";
}

export interface Secret {
  name: string;
  service: string | null;
  environment: string | null;
  version: number;
  at: number;
  by: string;
  set: boolean;
  kept: number[];
}

export interface Untold {
  service: string;
  environment: string;
  channel: string;
  waiting: number;
  since: number;
  attempts: number;
  trouble: string | null;
}

export interface Deed {
  number: number;
  at: number;
  by: string;
  deed: { type: string } & Record<string, unknown>;
}
