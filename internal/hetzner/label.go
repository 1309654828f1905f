package hetzner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// tenantLabel says whose a server is.
const tenantLabel = "tenant_id"

// Label sets labels on a server, and keeps those that others have set. A server that
// carries another tenant's tenant_id is a [provision.Conflict]. Nothing is written if all
// is as it should be.
func (p *Project) Label(ctx context.Context, s provision.Server, labels map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	id, err := number(s)
	if err != nil {
		return err
	}
	pause := backoff(cmp.Or(p.RetryPause, time.Second), 30*time.Second)
	for try := 0; ; try++ {
		// The API replaces all labels at once, so each try begins with those of this moment;
		// and if the answer to the last one was lost, this is where we see what it did.
		have, _, err := p.server(ctx, s, id)
		if err != nil {
			return err
		}
		if owner, wanted := have.Labels[tenantLabel], labels[tenantLabel]; owner != "" && wanted != "" && owner != wanted {
			return provision.Errorf(provision.Conflict, "%s %d (%s) belongs to another tenant: expected label %s=%s, found %s",
				what(s), id, have.Name, tenantLabel, wanted, owner)
		}
		merged := maps.Clone(have.Labels)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, labels)
		if maps.Equal(merged, have.Labels) {
			return nil
		}
		client, err := p.api()
		if err != nil {
			return err
		}
		_, _, err = client.Server.Update(ctx, have, hcloud.ServerUpdateOpts{Labels: merged})
		if err == nil {
			return nil
		}
		again := lost(err) || hcloud.IsError(err, hcloud.ErrorCodeLocked)
		if try >= maxRetries-1 || !again || sleep(ctx, pause(try)) != nil {
			return classify(ctx, fmt.Sprintf("label %s %d", what(s), id), err)
		}
	}
}

// managedBy marks what provisioning has made.
const managedBy, prego = "managed-by", "prego"

// owned refuses what does not carry our own marks: managed-by, and the tenant_id and job_id
// that the inputs ask for.
func owned(kind, name, id string, have map[string]string, inputs map[string]any) error {
	want := map[string]string{managedBy: prego}
	labels, _ := inputs["labels"].(map[string]any)
	for _, key := range []string{tenantLabel, "job_id"} {
		if v, ok := labels[key].(string); ok {
			want[key] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if have[key] != want[key] {
			return &provision.Error{
				Class: provision.Conflict,
				Text: fmt.Sprintf("%s %s exists at Hetzner already, with ID %s, and is not this job's: expected label %s=%s, found %q",
					kind, name, id, key, want[key], have[key]),
				Next: "find out whose it is; rename or delete it only if it is nobody's",
			}
		}
	}
	return nil
}
