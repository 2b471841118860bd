// What the set-up is answered, by the names that its parts use.

import type { components } from "../api/openapi.ts";
import type { Sent } from "../api/types.ts";

type Schemas = components["schemas"];

export type Choice = Sent<Schemas["Choice"]>;
export type Sites = Sent<Schemas["Sites"]>;
export type Site = Sent<Schemas["Site"]>;
export type Drafted = Sent<Schemas["ServiceDraft"]>;
export type Review = Sent<Schemas["ServiceReview"]>;
export type Check = Sent<Schemas["SetUpCheck"]>;
export type Forecast = Sent<Schemas["TrafficForecast"]>;
