// Which page an address means.

export type Route =
  | { page: "home" }
  | { page: "rollout"; id: string; at: number | null }
  | { page: "service"; environment: string; service: string }
  | { page: "set-up" }
  | { page: "history"; query: string }
  | { page: "settings" }
  | { page: "sign-in" }
  | { page: "nowhere" };

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function route(pathname: string, search: string): Route {
  const parts = pathname.split("/").filter((part) => part !== "").map(decoded);
  const [first, second, third] = parts;
  if (first === undefined) return { page: "home" };
  if (first === "rollouts" && second !== undefined && parts.length === 2) {
    const at = Number(new URLSearchParams(search).get("at"));
    return { page: "rollout", id: second, at: Number.isInteger(at) && at > 0 ? at : null };
  }
  if (first === "services" && second !== undefined && third !== undefined && parts.length === 3) {
    return { page: "service", environment: second, service: third };
  }
  if (parts.length === 1 && first === "history") return { page: "history", query: search };
  if (parts.length === 1 && (first === "set-up" || first === "settings" || first === "sign-in")) return { page: first };
  return { page: "nowhere" };
}

export const rolloutPath = (id: string): string => `/rollouts/${encodeURIComponent(id)}`;
export const servicePath = (key: { environment: string; service: string }): string =>
  `/services/${encodeURIComponent(key.environment)}/${encodeURIComponent(key.service)}`;
