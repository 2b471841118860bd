import { svelte } from "@sveltejs/vite-plugin-svelte";
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// `npm run dev` speaks to a server that runs: DAVY_SERVER, and its token in the file DAVY_TOKEN_FILE in place of a session.
const server = process.env.DAVY_SERVER ?? "http://127.0.0.1:7420";
const file = process.env.DAVY_TOKEN_FILE;
const token = file ? readFileSync(file, "utf8").trim() : undefined;

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2022",
    // What is small is a file, too: a data address in a style is one more thing for the policy to allow.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: {
      "/api": { target: server, changeOrigin: true, headers: token ? { authorization: `Bearer ${token}` } : {} },
    },
  },
});
