// One dispatch with octokit: the message in a file, its run's id on standard output.
import { readFileSync } from "node:fs";
import { Octokit } from "@octokit/core";

const message = JSON.parse(readFileSync(process.argv[2], "utf8"));
const inputs = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== ""));
inputs.create_new_server = message.create_new_server === "true";
const [owner, repo] = process.env.REPO.split("/");
const octokit = new Octokit({ auth: process.env.GITHUB_TOKEN, baseUrl: process.env.GITHUB_API_URL });
const { data } = await octokit.request("POST /repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches", {
  owner,
  repo,
  workflow_id: "provision-tenant.yml",
  ref: "main",
  inputs,
  return_run_details: true,
  headers: { "X-GitHub-Api-Version": "2022-11-28" },
});
console.log(data.workflow_run_id);
