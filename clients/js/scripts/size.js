// Prints what each entry costs a page: bundled, minified, gzipped. Fails where the core is more than it may be.
import { basename } from "node:path";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const MOST_BYTES = 6144;

const core = await measure("dist/index.js");
print("core", core.bytes, ` of at most ${MOST_BYTES}`);
// Loaded by the pages that need it, when they do.
for (const part of core.later) print(`  + ${basename(part, ".js")}`, (await measure(`dist/${part}`, core.files)).bytes);
for (const [name, file] of Object.entries({ react: "react/index.js", query: "query/index.js", mock: "mock.js" })) {
  print(name, (await measure(`dist/${file}`)).bytes);
}
if (core.bytes > MOST_BYTES) process.exitCode = 1;

/** Bundles an entry without what it loads later, and without the files that are there already. */
async function measure(entry, there = []) {
  const later = [];
  const apart = {
    name: "apart",
    setup: (building) =>
      building.onResolve({ filter: /^\.\// }, ({ kind, path }) => {
        const isLater = kind === "dynamic-import";
        if (isLater) later.push(path.replace("./", ""));
        return isLater || there.includes(`dist/${path.replace("./", "")}`) ? { external: true, path } : undefined;
      }),
  };
  const bundled = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    metafile: true,
    format: "esm",
    target: "es2022",
    // What the page has anyway.
    external: ["react", "@tanstack/*"],
    plugins: there.length || entry === "dist/index.js" ? [apart] : [],
    write: false,
  });
  return { bytes: gzipSync(bundled.outputFiles[0].contents, { level: 9 }).length, files: Object.keys(bundled.metafile.inputs), later };
}

function print(name, bytes, more = "") {
  console.log(`${name.padEnd(18)}${String(bytes).padStart(6)} bytes${more}`);
}
