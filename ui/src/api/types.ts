// What the API says, by the names that the page uses. `openapi.ts` beside it is made from `openapi.json` by `npm run types`.
// Weights in basis points, times in milliseconds since the Unix epoch.

import type { components } from "./openapi.ts";

type Schemas = components["schemas"];
/** The server leaves nothing out that a type names: what is absent is null. */
export type Sent<T> = T extends (infer Item)[] ? Sent<Item>[] : T extends object ? { [Key in keyof T]-?: Sent<Exclude<T[Key], undefined>> } : T;

export type Role = Schemas["Role"];
export type VerdictKind = Schemas["Kind"];
export type OutcomeKind = Schemas["Outcome"];
export type Cause = Schemas["CauseKind"];
export type PauseReason = Schemas["PauseReason"];
export type Counted = Sent<Schemas["Counted"]>;
export type Evidence = Sent<Schemas["Evidence"]>;
export type Measure = Schemas["Measure"];
export type Rollout = Sent<Schemas["Rollout"]>;
export type Service = Sent<Schemas["Service"]>;
export type ServiceDetail = Sent<Schemas["ServiceDetail"]>;
export type ReleaseSeen = Sent<Schemas["ReleaseServed"]>;
export type Timeline = Sent<Schemas["Timeline"]>;
export type Point = Sent<Schemas["Point"]>;
export type Decision = Sent<Schemas["Decision"]>;
export type Change = Sent<Schemas["Change"]>;
export type LogLine = Sent<Schemas["LogLine"]>;
export type Token = Sent<Schemas["Token"]>;
export type Secret = Sent<Schemas["Secret"]>;
export type Untold = Sent<Schemas["Untold"]>;
export type Deed = Sent<Schemas["DeedRecord"]>;
export type JournalRecord = Sent<Schemas["Record"]>;
export type Tested = Sent<Schemas["Tested"]>;
export type Verified = Sent<Schemas["Verified"]>;
export type MetricsChecked = Sent<Schemas["MetricsChecked"]>;

export type Session = Sent<Schemas["Session"]>;
export type SignedIn = Sent<Schemas["SignedIn"]>;

/** Who vouches for people. */
export interface Way {
  name: string;
  kind: "oidc" | "github";
  start: string;
}

export interface Ways {
  ways: Way[];
  session: Session | null;
}
