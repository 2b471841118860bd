// What the set-up is answered. `npm run types` makes the same from openapi.json.

import type { Field, Wrong } from "../pure/setup.ts";

export interface Found {
  id: string;
  kind: string;
  name: string;
  image: string;
  ports: number[];
  project: string | null;
  deployed: string[];
}

export interface Site {
  platform: string;
  called: string;
  found: Found[];
  trouble: string;
  hint: string;
}

export interface Choice {
  name: string;
  what: string;
  likely: boolean;
}

export interface Drafted {
  fields: Field[];
  notes: string[];
  choices: Choice[];
}

export interface Deploy {
  file: string;
  folder: string;
  environment: string | null;
  service: string | null;
  image: string | null;
}

export interface Review {
  file: string;
  errors: Wrong[];
  notes: string[];
  serves: boolean;
  changes: { key: string; from: string | null; to: string | null }[];
  command: string;
  deploy: Deploy | null;
}

export interface Check {
  check: string;
  ok: boolean | null;
  detail: string;
  hint: string;
}

export interface Fate {
  fails: number;
  rollouts: number;
  rolled_back: number;
  promoted: number;
  undecided: number;
  failed: [number, number];
  seconds: [number, number];
}

export interface Forecast {
  rate: number;
  measured: boolean;
  sentences: string[];
  versions: Fate[];
}
