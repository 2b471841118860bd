// The set-up of a service: what its fields are called, the draft, and what of it may be kept. No clock and no document here.

/** A field as the server gives it. */
export interface Field {
  key: string;
  value: string;
  default: string;
  /** Who says so, in words. */
  origin: string;
  /** Whether whoever says so knows. */
  sure: boolean;
}

export type Step = 1 | 2 | 3 | 4;
export const STEPS: readonly [Step, string][] = [
  [1, "What"],
  [2, "How it runs"],
  [3, "Checks and forecast"],
  [4, "Review"],
];

/** A service that is being set up. */
export interface Draft {
  step: Step;
  /** What it began with, in words. */
  begun: string;
  /** What runs already, if it began with that. */
  found: string | null;
  fields: Field[];
  /** What stands in the fields, whoever wrote it. */
  values: Record<string, string>;
  notes: string[];
  /** Where the server is to ask for health, if nothing was found. */
  address: string;
  /** Requests a second to assume; empty for those that are measured. */
  rate: string;
}

export interface Question {
  label: string;
  help: string;
  /** Lines of text, one of a few, or one text. */
  kind: "text" | "lines" | "choice";
  options?: readonly [string, string][];
  example?: string;
}

const one = (label: string, help: string, example = ""): Question => ({ label, help, kind: "text", example });
const lines = (label: string, help: string, example = ""): Question => ({ label, help, kind: "lines", example });

export const QUESTIONS: Record<string, Question> = {
  service: one("Name", "a–z, 0–9 and -. It is called so everywhere.", "logo"),
  environment: one("Environment", "Where it is deployed to.", "staging"),
  image: one("Image", "As docker pull would name it.", "registry.example.com/logo:2.0"),
  command: one("Command", "One program and its arguments, without a shell.", "./logo --port $PORT"),
  folder: one("Folder", "On the server's machine: relative paths in the command are taken from there.", "/srv/logo"),
  files: lines("Files", "Files and folders besides those that the command names, one a line.", "static"),
  port: one("Port", "Where the container listens.", "8080"),
  replicas: one("Instances", "How many run at once."),
  "health.path": one("Health path", "200 to 399 is healthy. Without one, an open port is.", "/healthz"),
  "health.grace": one("Grace", "How long a new instance may take to become healthy."),
  "health.interval": one("Interval", "The time between two checks."),
  "route.host": one("Host", "Requests for this host are the service's; without one, those for every host.", "logo.example.com"),
  "route.path": one("Path", "A prefix of whole segments.", "/shop"),
  env: lines("Variables", "NAME=value, one a line. What is secret belongs under Secrets.", "COLOR=blue"),
  secrets: lines("Secrets", "Names only, one a line. Their values are set under Settings, or by davy secret set.", "DB_PASSWORD"),
  volumes: lines("Volumes", "NAME:/path or /host/path:/path, one a line. Old and new version share them while both run.", "data:/data"),
  user: one("User", "Who it runs as, if not as its image says.", "nobody"),
  "stop-signal": one("Stop signal", "What asks it to end, if not what its image says.", "SIGTERM"),
  "resources.cpu": one("Processor", "In thousandths of one.", "500m"),
  "resources.memory": one("Memory", "It is ended when it uses more.", "256MiB"),
  engine: one("Docker engine", "Another than the server's own.", "ssh://deploy@host"),
  strategy: {
    label: "How a new version takes over",
    help: "A canary is given more and more traffic while it is measured.",
    kind: "choice",
    options: [
      ["canary", "Canary: step by step, measured"],
      ["blue-green", "Blue-green: whole beside the old one, switched at once"],
      ["rolling", "Rolling: instance by instance"],
      ["recreate", "Recreate: the old one ends first; requests fail meanwhile"],
    ],
  },
  steps: one("Steps", "Shares of traffic, rising; or auto, and the judge chooses.", "auto"),
  hold: one("Hold", "The least time at each step.", "60s"),
  deadline: one("Deadline", "The most time at each step; then a person is asked."),
  "error-rate.max": one("Error limit", "An absolute limit, besides the comparison with the old version.", "2%"),
  "latency.p99": one("Latency limit", "99 of 100 requests are to be quicker; compared with the old version, too.", "500ms"),
  "harm-budget": one("Harm budget", "Failures in excess of the old version's that a rollout may cost."),
  drain: one("Drain", "The longest wait for requests in flight on a version that leaves."),
  bake: one("Bake", "The old version is kept so long after promotion, for an instant way back."),
};

/** What is asked of everybody, by where it runs. */
const FIRST: readonly string[] = ["service", "environment", "image", "command", "folder", "port", "health.path", "replicas"];
/** What is asked with the forecast beside it. */
export const LIMITS: readonly string[] = ["strategy", "steps", "hold", "deadline", "error-rate.max", "latency.p99", "harm-budget", "drain", "bake"];

export interface Groups {
  first: string[];
  more: string[];
  limits: string[];
}

/** Which fields are asked at once, which are folded away, and which stand beside the forecast. */
export function groups(draft: Draft): Groups {
  const keys = draft.fields.map((field) => field.key).filter((key) => key !== "platform");
  const isContainer = value(draft, "platform") !== "local";
  const isFirst = (key: string): boolean => {
    if (key === "command") return !isContainer || found(draft, key) !== "";
    // What was found is to be looked at; what was not is a question for later.
    if (["env", "secrets", "volumes"].includes(key)) return found(draft, key) !== "";
    return FIRST.includes(key);
  };
  const limits = LIMITS.filter((key) => keys.includes(key) && (key !== "steps" || value(draft, "strategy") === "canary" || value(draft, "strategy") === ""));
  return {
    first: keys.filter((key) => isFirst(key) && !LIMITS.includes(key)),
    more: keys.filter((key) => !isFirst(key) && !LIMITS.includes(key)),
    limits,
  };
}

export const value = (draft: Draft, key: string): string => draft.values[key] ?? "";
const field = (draft: Draft, key: string): Field | undefined => draft.fields.find((one) => one.key === key);
const found = (draft: Draft, key: string): string => field(draft, key)?.value ?? "";

export interface Origin {
  words: string;
  /** Somebody should look. */
  look: boolean;
  /** What was found, where the person wrote something else. */
  instead: string | null;
}

/** Where what stands in a field comes from. */
export function origin(draft: Draft, key: string): Origin {
  const of = field(draft, key);
  const now = value(draft, key);
  if (!of) return { words: "", look: false, instead: null };
  if (now !== of.value) return { words: "you wrote it", look: false, instead: of.value };
  if (now === "" && of.default !== "") return { words: `default: ${of.default}`, look: false, instead: null };
  if (now === "") return { words: of.sure ? "" : `look at it: ${of.origin}`, look: !of.sure, instead: null };
  if (of.origin === "default") return { words: "default", look: false, instead: null };
  return { words: of.sure ? `from ${of.origin}` : `look at it: ${of.origin}`, look: !of.sure, instead: null };
}

/** What the server is asked about. */
export function form(draft: Draft): { values: Record<string, string>; found: string | null; address: string | null; rate: number | null } {
  const known = new Set(draft.fields.map((one) => one.key));
  const values = Object.fromEntries(Object.entries(draft.values).filter(([key]) => known.has(key)));
  const rate = Number(draft.rate.replace(",", "."));
  return {
    values,
    found: draft.found,
    address: draft.found === null && draft.address.trim() !== "" ? draft.address.trim() : null,
    rate: draft.rate.trim() !== "" && Number.isFinite(rate) ? rate : null,
  };
}

/** A draft as it begins, with what the server found. */
export function begin(begun: string, foundId: string | null, answer: { fields: Field[]; notes: string[] }): Draft {
  const values = Object.fromEntries(answer.fields.map((one) => [one.key, one.value]));
  return { step: 2, begun, found: foundId, fields: answer.fields, values, notes: answer.notes, address: "", rate: "" };
}

const SECRET_WORDS = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY"];
const SECRET_PARTS = ["KEY", "KEYS", "PASS", "PWD", "PW", "AUTH", "SALT", "DSN"];

/** Whether a variable looks like a secret, by its name or the form of its value. */
export function looksSecret(name: string, text: string): boolean {
  const upper = name.toUpperCase();
  return (
    SECRET_WORDS.some((word) => upper.includes(word)) ||
    upper.split(/[_.-]/).some((part) => SECRET_PARTS.includes(part)) ||
    /:\/\/[^/?@\s]*:[^/?@\s]+@/.test(text) ||
    text.includes("-----BEGIN ")
  );
}

const WITHOUT = (text: string): string =>
  text
    .split("\n")
    .filter((line) => {
      const at = line.indexOf("=");
      return at < 0 || !looksSecret(line.slice(0, at).trim(), line.slice(at + 1));
    })
    .join("\n");

/** The draft as it may be kept in the browser: a variable that looks like a secret is left out, and a secret's value is never in it. */
export function keep(draft: Draft): string {
  const values: Record<string, string> = {};
  for (const [key, text] of Object.entries(draft.values)) {
    if (key === "env") values[key] = WITHOUT(text);
    else if (!(key === "command" && text.split(/\s+/).some((word) => looksSecret(word.split("=")[0] ?? "", word)))) values[key] = text;
  }
  return JSON.stringify({ version: 1, draft: { ...draft, values } });
}

const isText = (given: unknown): given is string => typeof given === "string";

/** A draft that was kept; null when there is none that can be gone on with. */
export function kept(text: string | null): Draft | null {
  if (text === null) return null;
  try {
    const { version, draft } = JSON.parse(text) as { version: number; draft: Draft };
    const isField = (one: Field): boolean => [one.key, one.value, one.default, one.origin].every(isText) && typeof one.sure === "boolean";
    const isWhole =
      version === 1 &&
      [1, 2, 3, 4].includes(draft.step) &&
      isText(draft.begun) &&
      (draft.found === null || isText(draft.found)) &&
      draft.fields.length > 0 &&
      draft.fields.every(isField) &&
      Object.values(draft.values).every(isText) &&
      draft.notes.every(isText) &&
      isText(draft.address) &&
      isText(draft.rate);
    return isWhole ? draft : null;
  } catch {
    return null;
  }
}

export interface Wrong {
  key: string;
  code: string;
  message: string;
  hint: string;
  line: number;
}

/** The errors that a step has to show: each at its field, those of none and of fields that are not asked with the rest. */
export function errorsOf(errors: readonly Wrong[], keys: readonly string[]): Wrong[] {
  return errors.filter((error) => keys.includes(error.key));
}

export const CHECKS: Record<string, string> = {
  engine: "Docker engine",
  image: "Image",
  port: "Port",
  command: "Program",
  health: "Health, asked now",
  secrets: "Secrets",
  route: "Requests",
  traffic: "Traffic",
};
