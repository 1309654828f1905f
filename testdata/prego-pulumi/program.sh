#!/bin/sh
# Writes the program for one stack. Pulumi gives the config as a JSON object of strings in
# PULUMI_CONFIG, and asks once without it, to learn which plugins are needed.
set -eu

get() { printf '%s' "$PULUMI_CONFIG" | sed -n 's/.*"prego:'"$1"'":"\([^"]*\)".*/\1/p'; }

# labels writes labels, but for values that Hetzner does not take.
labels() { # name value ...
	echo "      labels:"
	echo "        managed-by: prego"
	while [ $# -gt 0 ]; do
		case $2 in
		'' | *[!A-Za-z0-9._-]* | [!A-Za-z0-9]* | *[!A-Za-z0-9]) ;;
		*) [ ${#2} -gt 63 ] || echo "        $1: \"$2\"" ;;
		esac
		shift 2
	done
}

# server writes a server. What it was made with is not looked at again.
server() { # resource, name, role, tenant, job
	cat <<END
  $1:
    type: hcloud:Server
    properties:
      name: $2
      serverType: $type
      image: ubuntu-24.04
      location: $location
END
	labels role "$3" tenant_id "$4" job_id "$5"
	cat <<END
    options:
      protect: true
      ignoreChanges: [labels, serverType, image, location, sshKeys, userData]
END
}

shared() {
	name=prego-$region
	nodes=$(printf '%s' "$PULUMI_CONFIG" | sed -n 's/.*"prego:nodes":"\[\([^]]*\)\]".*/\1/p' | tr -d '\\"' | tr ',' ' ')
	for key in $nodes; do
		# The other nodes are there already, and other jobs'. A key is the job_id, where that
		# is short and plain.
		if [ "$key" = "$job" ]; then
			server "node-$key" "$name-$key" app "$tenant" "$job"
		else
			server "node-$key" "$name-$key" app "" ""
		fi
	done
	echo "outputs:"
	echo "  nodes:"
	for key in $nodes; do
		printf '    %s: {server_id: "${node-%s.id}", server_ip: "${node-%s.ipv4Address}"}\n' "$key" "$key" "$key"
	done
}

dedicated() {
	# The stack's name keeps tenants apart; a long one ends in a hash, so its end is kept.
	name=prego-$(printf '%s' "${PULUMI_STACK#dedicated-}" | tail -c 51 | sed 's/^-*//')
	for role in app db redis; do
		server $role "$name-$role" $role "$tenant" "$job"
	done
	echo "outputs:"
	for role in app db redis; do
		[ $role = app ] && output=server || output=${role}_server
		printf '  %s_id: ${%s.id}\n  %s_ip: ${%s.ipv4Address}\n' $output $role $output $role
	done
	echo "  tenant_id: \"$tenant\""
}

echo "name: prego"
echo "runtime: yaml"
if [ -z "${PULUMI_CONFIG:-}" ]; then
	echo "resources: {}"
	exit
fi
dedicated=$(get dedicated) tenant=$(get tenant_id) job=$(get job_id) region=$(get region) type=$(get server_type)
case $region in
sg) location=sin type=${type:-cpx22} ;;
us) location=ash type=${type:-cpx21} ;;
eu) location=nbg1 type=${type:-cpx22} ;;
*)
	echo "prego:region is \"$region\", not sg, us or eu" >&2
	exit 1
	;;
esac
# Where there is a choice, it is the caller's; it counts for what is made by this update.
chosen=$(get server_location)
location=${chosen:-$location}
echo "resources:"
if [ "$dedicated" = true ]; then dedicated; else shared; fi
