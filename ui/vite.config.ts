import { svelte } from "@sveltejs/vite-plugin-svelte";
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// `npm run dev` speaks to a server that runs: DAVY_SERVER, and its token in the file DAVY_TOKEN_FILE in place of a session.
const server = process.env.DAVY_SERVER ?? "http://127.0.0.1:7420";
const file = process.env.DAVY_TOKEN_FILE;
const token = file ? readFileSync(file, "utf8").trim() : undefined;

/** The entry asks the server first and fetches the code that draws besides: the browser is told of that code by the document already. */
const preload: Plugin = {
  name: "preload",
  transformIndexHtml: {
    order: "post",
    handler(_, { bundle }) {
      const page = Object.values(bundle ?? {}).find((file) => file.type === "chunk" && file.name === "page");
      if (page?.type !== "chunk") return [];
      return [
        { tag: "link", attrs: { rel: "modulepreload", crossorigin: true, href: `/${page.fileName}` }, injectTo: "head" },
        ...[...(page.viteMetadata?.importedCss ?? [])].map((style) => ({ tag: "link", attrs: { rel: "stylesheet", crossorigin: true, href: `/${style}` }, injectTo: "head" as const })),
      ];
    },
  },
};

export default defineConfig({
  plugins: [svelte(), preload],
  build: {
    target: "es2022",
    // What is small is a file, too: a data address in a style is one more thing for the policy to allow.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // One file for everything that every page needs: each more is one more request.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "first", test: /src\/(main|api\/early)\.ts$|preload-helper/, priority: 1 }, { name: "page", test: /src\/(begin\.ts|parts\/Wide\.svelte)$/ }] } } },
  },
  server: {
    proxy: {
      "/api": { target: server, changeOrigin: true, headers: token ? { authorization: `Bearer ${token}` } : {} },
    },
  },
});
