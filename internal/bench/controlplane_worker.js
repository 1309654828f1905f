// POST /internal/placement/compute as a Worker with D1: every node of the region is read,
// looked at, and sorted. It says less than ours does: nothing of other regions, and no hash
// of what it has decided on.
const thresholds = { memory_pct_max: 80, max_tenants_per_node: 40, metrics_max_age: "24h0m0s", default_region: "sg" };
const metricsMaxAge = 24 * 3600 * 1000;

function reasonsAgainst(n, now) {
  const reasons = [];
  if (n.status !== "active") reasons.push(`status is ${n.status}`);
  if (n.dedicated) reasons.push("dedicated");
  if (n.tenant_count >= thresholds.max_tenants_per_node)
    reasons.push(`tenant_count ${n.tenant_count} >= ${thresholds.max_tenants_per_node}`);
  if (n.memory_pct === null) reasons.push("memory_pct unknown");
  else if (n.memory_pct > thresholds.memory_pct_max) reasons.push(`memory_pct ${n.memory_pct} > ${thresholds.memory_pct_max}`);
  if (n.metrics_at === null || now - n.metrics_at > metricsMaxAge) reasons.push("metrics too old");
  return reasons;
}

function byLoad(a, b) {
  if (a.eligible !== b.eligible) return a.eligible ? -1 : 1;
  return a.memory_pct - b.memory_pct || a.tenant_count - b.tenant_count || (a.node_id < b.node_id ? -1 : 1);
}

function decide(rows, tier, region, now) {
  const candidates = rows.map((n) => {
    const reasons = reasonsAgainst(n, now);
    return {
      node_id: n.node_id, eligible: reasons.length === 0, reasons, active: n.status === "active",
      memory_pct: n.memory_pct, tenant_count: n.tenant_count, metrics_at: new Date(n.metrics_at).toISOString(),
    };
  });
  candidates.sort(byLoad);
  const eligible = candidates.filter((c) => c.eligible);
  eligible.forEach((c, i) => (c.rank = i + 1));
  const dedicated = tier === "enterprise";
  const target = dedicated || eligible.length === 0 ? null : eligible[0].node_id;
  let reason = "existing_node_selected";
  if (dedicated) reason = "dedicated_tier";
  else if (rows.length === 0) reason = "no_nodes_in_region";
  else if (target === null) reason = "no_eligible_node";
  return {
    placement: { region, create_new_server: target === null, target_server_id: target, dedicated },
    candidates: candidates.slice(0, 20),
    candidates_total: candidates.length,
    cluster: {
      nodes: rows.length, eligible: eligible.length,
      tenants: rows.reduce((sum, n) => sum + n.tenant_count, 0),
      free_places: eligible.reduce((sum, c) => sum + thresholds.max_tenants_per_node - c.tenant_count, 0),
    },
    selected_node_id: target, decision_reason: reason, region, thresholds,
    plan_tier: tier, decided_at: new Date(now).toISOString(), algorithm: "decidePlacement_unified_v1",
  };
}

export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname !== "/internal/placement/compute" || request.method !== "POST")
      return new Response("not found", { status: 404 });
    if (request.headers.get("Authorization") !== `Bearer ${env.INTERNAL_API_KEY}`)
      return new Response("unauthorised", { status: 401 });
    const body = await request.json();
    const region = body.region ?? thresholds.default_region;
    const { results } = await env.DB.prepare(
      "SELECT node_id, status, dedicated, memory_pct, tenant_count, metrics_at FROM nodes WHERE region = ?",
    ).bind(region).all();
    return Response.json(decide(results, body.plan_tier ?? body.tier ?? "basic", region, Date.now()));
  },
};
