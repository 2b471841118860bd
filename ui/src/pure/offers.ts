// What a person may do about a rollout, what each would do, and why one cannot be done now.

import type { Role, Rollout } from "../api/types.ts";
import { called, duration, weight } from "./words.ts";

export type Action = "promote" | "pause" | "resume" | "abort" | "rollback";

export interface Offer {
  action: Action;
  label: string;
  /** The words on the button that does it. */
  confirm: string;
  /** What happens then, sentence by sentence. */
  consequences: string[];
  /** Why it cannot be done now; nothing when it can. */
  barred: string | null;
  harm: boolean;
}

export interface Asker {
  name: string;
  role: Role;
}

const RANK: Record<Role, number> = { viewer: 0, deployer: 1, approver: 2, admin: 3 };
const ARTICLE: Record<Role, string> = { viewer: "a viewer", deployer: "a deployer", approver: "an approver", admin: "an admin" };

export const may = (asker: Asker, role: Role): boolean => RANK[asker.role] >= RANK[role];

/** Why somebody may not; nothing when he may. */
export function denied(asker: Asker, role: Role): string | null {
  return may(asker, role) ? null : `This needs ${ARTICLE[role]}. You are signed in as ${asker.name}, ${ARTICLE[asker.role]}.`;
}

/** Why somebody may not look at what is of no environment; nothing when he may. */
export function bound(asker: { environments: readonly string[] }): string | null {
  return asker.environments.length === 0 ? null : `This needs an account for every environment. Yours is for ${asker.environments.join(", ")}.`;
}

function neverNow(rollout: Rollout): string | null {
  if (rollout.state === "queued") return "It has not begun: it waits for the rollout before it.";
  return null;
}

/** `elsewhere` says why nothing can be done at all: the past is shown, or the connection is lost. */
export function offers(rollout: Rollout, asker: Asker, elsewhere: string | null): Offer[] {
  const before = rollout.from === null ? null : called(rollout.from_version, rollout.from);
  const stable = before === null ? "stable" : `stable (${before})`;
  const canary = called(rollout.version, rollout.release);
  const at = weight(rollout.weight.intended);
  const over = neverNow(rollout);
  const first = rollout.from === null;
  const left = rollout.steps.slice(rollout.step + 1).map(weight);
  const bar = (role: Role, own: string | null) => elsewhere ?? over ?? denied(asker, role) ?? own;

  // While it bakes, the release before still runs. Later on, the service's page says to which release one can go back.
  if (rollout.state === "baking" && before !== null) {
    return [
      {
        action: "rollback",
        label: "Roll back",
        confirm: `Roll back to ${before}`,
        consequences: [
          `The release before, ${before}, still runs: it gets all traffic at once.`,
          `Nothing has to start: it is kept for ${duration(rollout.bake_ms)} after the promotion. This rollout ends as rolled back.`,
        ],
        barred: elsewhere ?? denied(asker, "deployer"),
        harm: true,
      },
    ];
  }
  if (rollout.outcome) return [];

  const starting = rollout.state === "starting" ? "The new release's instances are not healthy yet." : null;
  const nothing = first ? "It is the service's first release: it is promoted as soon as it serves." : null;
  const paused = rollout.state === "paused";
  const hold: Offer = paused
    ? {
        action: "resume",
        label: "Resume",
        confirm: "Resume",
        consequences: [`It goes on from ${at}; the step has ${duration(rollout.deadline_ms)} from then to be proven, ${rollout.on_deadline === "pause" ? "or it pauses again" : "or it is rolled back"}.`, "Nothing is promoted by this: each step still has to be proven."],
        barred: bar("deployer", null),
        harm: false,
      }
    : {
        action: "pause",
        label: "Pause",
        confirm: `Pause at ${at}`,
        consequences: [
          `The new release keeps ${at} of the traffic, and no step is taken.`,
          "It is judged on: harm still puts traffic back at once.",
          `If nobody resumes it within ${duration(rollout.pause_limit_ms)}, it is rolled back.`,
        ],
        barred: bar("deployer", null),
        harm: false,
      };
  return [
    {
      action: "promote",
      label: "Promote",
      confirm: "Promote without proof",
      consequences: [
        left.length > 0
          ? `${canary} goes to ${left.at(-1)} without waiting for proof${left.length > 1 ? `; ${left.slice(0, -1).join(", ")} ${left.length > 2 ? "are" : "is"} skipped` : ""}.`
          : `${canary} stays at ${at} and is promoted after one whole hold, observed.`,
        "It is judged on: harm still puts traffic back at once.",
        `Your name, ${asker.name}, stands beside this decision.`,
      ],
      barred: bar("approver", starting ?? nothing),
      harm: false,
    },
    hold,
    {
      action: "abort",
      label: "Abort",
      confirm: first ? "Abort" : "Abort: all traffic to stable",
      consequences: first
        ? ["Its instances are removed. Nothing serves the service then: there is no release before this one."]
        : [`All traffic goes to ${stable} at once.`, `The instances of ${canary} finish their requests and are removed. The rollout ends.`],
      barred: bar("deployer", null),
      harm: true,
    },
  ];
}
