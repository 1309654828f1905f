// Runs the Worker under Miniflare on a D1 database of the nodes in a file, and prints where.
// usage: node miniflare.mjs NODES.json KEY
import { readFileSync } from "node:fs";
import { Miniflare } from "miniflare";

const [file, key] = process.argv.slice(2);
const mf = new Miniflare({
  modules: true,
  script: readFileSync(new URL("./worker.js", import.meta.url), "utf8"),
  compatibilityDate: "2026-01-01",
  host: "127.0.0.1",
  port: 0,
  d1Databases: ["DB"],
  bindings: { INTERNAL_API_KEY: key },
});
process.on("SIGTERM", () => mf.dispose().finally(() => process.exit(0)));

const url = await mf.ready;
const db = await mf.getD1Database("DB");
await db.exec(
  "CREATE TABLE nodes (node_id TEXT PRIMARY KEY, region TEXT NOT NULL, status TEXT NOT NULL, dedicated INTEGER NOT NULL," +
    " memory_pct REAL, tenant_count INTEGER NOT NULL, metrics_at INTEGER)",
);
await db.exec("CREATE INDEX nodes_of_region ON nodes (region)");
const insert = db.prepare("INSERT INTO nodes VALUES (?, ?, 'active', 0, ?, ?, ?)");
const nodes = JSON.parse(readFileSync(file, "utf8"));
while (nodes.length > 0) {
  const some = nodes.splice(0, 500);
  await db.batch(some.map((n) => insert.bind(n.node_id, n.region, n.memory_pct, n.tenant_count, Date.now())));
}
console.log(String(url));
