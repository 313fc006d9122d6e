// @vitest-environment jsdom
import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { build } from "esbuild";
import type { Plugin } from "esbuild";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import "./dom.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const PAGE = readFileSync(join(ROOT, "REACT.md"), "utf8");
const BLOCKS = [...PAGE.matchAll(/^```(jsx|js|ts)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code: code ?? "" }));

/** The page's first block is the component that its other blocks know. */
const COMPONENTS: Plugin = {
  name: "components",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\.\/bookings$/ }, ({ path }) => ({ path, namespace: "page" }));
    onResolve({ filter: /^\.\.\/realtime$/ }, ({ path }) => ({ path, external: true }));
    onLoad({ filter: /.*/, namespace: "page" }, () => ({ contents: BLOCKS[0]?.code ?? "", loader: "jsx", resolveDir: ROOT }));
  },
};

/** Bundles a block with the package's sources. Fails where it is no code, or imports what there is not. */
async function bundle(code: string, outfile?: string) {
  const source = (path: string): string => join(ROOT, "src", path);
  return build({
    stdin: { contents: code, loader: "tsx", resolveDir: ROOT },
    alias: { "rowcast/react": source("react/index.ts"), "rowcast/query": source("query/index.ts"), "rowcast/mock": source("mock.ts"), rowcast: source("index.ts") },
    external: ["react", "react-dom", "@testing-library/*", "@tanstack/*", "eventsource-parser"],
    plugins: [COMPONENTS],
    bundle: true,
    format: "esm",
    jsx: "automatic",
    logLevel: "silent",
    ...(outfile === undefined ? { write: false } : { outfile }),
  });
}

// esbuild looks at its own realm's Uint8Array, which jsdom replaces.
vi.mock("esbuild", async () => {
  globalThis.Uint8Array = Object.getPrototypeOf(Buffer) as typeof Uint8Array;
  return vi.importActual("esbuild");
});

describe("REACT.md", () => {
  it("has code in it", () => expect(BLOCKS.length).toBeGreaterThan(15));

  it.each(BLOCKS)("shows code that is some, and imports what there is: $code", async ({ code }) => {
    await expect(bundle(code)).resolves.toMatchObject({ errors: [], warnings: [] });
  });

  it("would fail for an import of what there is not", async () => {
    await expect(bundle('import { useRealTimeNothing } from "rowcast/react"; useRealTimeNothing();')).rejects.toThrow(/No matching export/);
  });

  it("shows a test that passes", async () => {
    const outfile = join(ROOT, "node_modules/.rowcast-page.mjs");
    onTestFinished(() => rmSync(outfile, { force: true }));
    await bundle(BLOCKS.find(({ code }) => code.includes("mockTransport"))?.code ?? "", outfile);
    const tests: (() => Promise<void>)[] = [];
    vi.stubGlobal("test", (_name: string, body: () => Promise<void>) => tests.push(body));
    await import(/* @vite-ignore */ pathToFileURL(outfile).href);
    expect(tests).toHaveLength(1);
    await tests[0]?.();
    expect(document.body.textContent).toContain("confirmed");
  });
});
