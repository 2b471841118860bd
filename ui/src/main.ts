// What is asked of the server at first is asked before the code that draws it has come.
import "./app.css";
import { ahead } from "./api/early.ts";

ahead(location.pathname);
if (location.pathname.startsWith("/rollouts/")) void import("./pages/Rollout.svelte");
void import("./begin.ts").then(({ begin }) => begin());
