# One dispatch with curl and jq: the message in a file, its run's id on standard output.
set -euo pipefail
jq -c '{ref: "main", return_run_details: true,
	inputs: (with_entries(select(.value != "")) | .create_new_server = (.create_new_server == "true"))}' "$1" |
	curl -sS --fail-with-body --max-time 20 -H "Authorization: Bearer $GITHUB_TOKEN" -H "X-GitHub-Api-Version: 2022-11-28" \
		-H "Content-Type: application/json" --data-binary @- \
		"$GITHUB_API_URL/repos/$REPO/actions/workflows/provision-tenant.yml/dispatches" |
	jq -er .workflow_run_id
