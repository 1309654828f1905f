// The peer of `bench image`: what an action written for Node.js does until its first step.
const core = require('@actions/core')
const { Octokit } = require('@octokit/core')

async function main() {
  const key = process.env.INTERNAL_API_KEY
  core.setSecret(key)
  const octokit = new Octokit({ auth: key, baseUrl: process.env.CONTROL_PLANE_URL })
  core.startGroup('resolve_node')
  await octokit.request('GET /internal/provision-jobs/{job_id}', { job_id: core.getInput('job_id', { required: true }) })
}

main().catch((err) => core.setFailed(err.message))
