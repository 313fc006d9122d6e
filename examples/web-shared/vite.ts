/** How both pages are built: what Vite writes is served under /static/, and nothing of it is inline. */

import type { UserConfig } from "vite";

export function built(): UserConfig {
  return {
    base: "/static/",
    publicDir: "../../web-shared/public",
    // The package lies outside, with a React of its own to be tested with.
    resolve: { dedupe: ["react", "react-dom"] },
    build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022" },
  };
}
