package provision_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// fields are those of a job that asks for a new shared server, changed as set says.
func fields(set map[string]string) map[string]string {
	m := map[string]string{
		"job_id": "job-1", "tenant_id": "acme-1", "region": "sg", "create_new_server": "true", "target_server_id": "",
		"subdomain_slug": "acme", "canonical_hostname": "acme.pregoi.com", "dedicated": "false", "trace_id": "trace_1",
	}
	maps.Copy(m, set)
	return m
}

// job is what fields(nil) spells.
func job(change func(*provision.Job)) provision.Job {
	j := provision.Job{
		ID: "job-1", TenantID: "acme-1", Region: placement.SG, CreateNewServer: true,
		SubdomainSlug: "acme", CanonicalHostname: "acme.pregoi.com", TraceID: "trace_1",
	}
	change(&j)
	return j
}

func TestParseJob(t *testing.T) {
	long := "trace_" + strings.Repeat("x", 122) // 128 in all
	for _, test := range []struct {
		set  map[string]string
		want provision.Job
	}{
		{nil, job(func(*provision.Job) {})},
		{map[string]string{"region": "eu"}, job(func(j *provision.Job) { j.Region = placement.EU })},
		{map[string]string{"dedicated": "true"}, job(func(j *provision.Job) { j.Dedicated = true })},
		{map[string]string{"dedicated": ""}, job(func(*provision.Job) {})},
		{map[string]string{"create_new_server": "false", "target_server_id": "hz-sg-7"},
			job(func(j *provision.Job) { j.CreateNewServer, j.TargetServerID = false, "hz-sg-7" })},
		{map[string]string{"create_new_server": "", "target_server_id": "hz-sg-7"},
			job(func(j *provision.Job) { j.CreateNewServer, j.TargetServerID = false, "hz-sg-7" })},
		// A target wins: the pipeline looks at it first.
		{map[string]string{"target_server_id": "hz-sg-7"}, job(func(j *provision.Job) { j.TargetServerID = "hz-sg-7" })},
		// The runner's toolkits trim, so the queue must not differ.
		{map[string]string{"job_id": " job-1\n", "tenant_id": "\tacme-1 ", "region": " sg ", "create_new_server": " true ",
			"target_server_id": "  ", "subdomain_slug": " acme", "canonical_hostname": "acme.pregoi.com ", "trace_id": " trace_1 "},
			job(func(*provision.Job) {})},
		// A trace_id that is none is as good as absent, and never stops a job.
		{map[string]string{"trace_id": ""}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"trace_id": "trace_"}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"trace_id": "span_1"}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"trace_id": "trace_a b"}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"trace_id": "trace_a\n::error::b"}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"trace_id": long}, job(func(j *provision.Job) { j.TraceID = long })},
		{map[string]string{"trace_id": " " + long + " "}, job(func(j *provision.Job) { j.TraceID = long })},
		{map[string]string{"trace_id": long + "x"}, job(func(j *provision.Job) { j.TraceID = "" })},
		{map[string]string{"job_id": strings.Repeat("j", 128)}, job(func(j *provision.Job) { j.ID = strings.Repeat("j", 128) })},
	} {
		got, err := provision.ParseJob(func(name string) string { return fields(test.set)[name] })
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("ParseJob with %q: %v (-want +got)\n%s", test.set, err, diff)
		}
	}
}

func TestParseJobRefuses(t *testing.T) {
	for _, test := range []struct {
		set  map[string]string
		want []string // the fields that are named, in order
	}{
		{map[string]string{"job_id": ""}, []string{"job_id"}},
		{map[string]string{"job_id": "  "}, []string{"job_id"}},
		{map[string]string{"job_id": "job 1"}, []string{"job_id"}},
		{map[string]string{"job_id": "-job"}, []string{"job_id"}},
		{map[string]string{"job_id": "job/1"}, []string{"job_id"}},
		{map[string]string{"job_id": "job\n::set-output name=x::y"}, []string{"job_id"}},
		{map[string]string{"job_id": strings.Repeat("j", 129)}, []string{"job_id"}},
		{map[string]string{"tenant_id": ""}, []string{"tenant_id"}},
		{map[string]string{"tenant_id": "../acme"}, []string{"tenant_id"}},
		{map[string]string{"tenant_id": "аcme"}, []string{"tenant_id"}}, // the first letter is Cyrillic
		{map[string]string{"region": ""}, []string{"region"}},
		{map[string]string{"region": "SG"}, []string{"region"}},
		{map[string]string{"region": "mars"}, []string{"region"}},
		{map[string]string{"create_new_server": "TRUE"}, []string{"create_new_server"}},
		{map[string]string{"create_new_server": "1"}, []string{"create_new_server"}},
		{map[string]string{"dedicated": "yes"}, []string{"dedicated"}},
		{map[string]string{"subdomain_slug": ""}, []string{"subdomain_slug"}},
		{map[string]string{"subdomain_slug": "a.b"}, []string{"subdomain_slug"}},
		{map[string]string{"subdomain_slug": "Acme"}, []string{"subdomain_slug"}},
		{map[string]string{"subdomain_slug": "acme-"}, []string{"subdomain_slug"}},
		{map[string]string{"canonical_hostname": ""}, []string{"canonical_hostname"}},
		{map[string]string{"canonical_hostname": "acme"}, []string{"canonical_hostname"}},
		{map[string]string{"canonical_hostname": "acme.pregoi.com."}, []string{"canonical_hostname"}},
		{map[string]string{"target_server_id": "hz sg"}, []string{"target_server_id"}},
		// Nowhere to put the tenant.
		{map[string]string{"create_new_server": "false"}, []string{"target_server_id"}},
		{map[string]string{"create_new_server": ""}, []string{"target_server_id"}},
		{map[string]string{"create_new_server": "false", "dedicated": "true"}, []string{"target_server_id"}},
		// Servers of its own, and somebody else's.
		{map[string]string{"dedicated": "true", "target_server_id": "hz-sg-7"}, []string{"target_server_id"}},
		// Everything that is wrong, in one go.
		{map[string]string{"job_id": "", "tenant_id": "a b", "region": "mars", "create_new_server": "maybe", "target_server_id": "-",
			"subdomain_slug": "A", "canonical_hostname": "a", "dedicated": "no"},
			[]string{"job_id", "tenant_id", "create_new_server", "dedicated", "region", "subdomain_slug", "canonical_hostname", "target_server_id"}},
	} {
		got, err := provision.ParseJob(func(name string) string { return fields(test.set)[name] })
		if provision.ClassOf(err) != provision.Invalid || got != (provision.Job{}) {
			t.Errorf("ParseJob with %q = %+v, %v; want no job and an invalid error", test.set, got, err)
			continue
		}
		var names []string
		for _, fe := range provision.FieldErrors(err) {
			names = append(names, fe.Field)
			if !strings.Contains(err.Error(), fe.Error()) {
				t.Errorf("ParseJob with %q = %q, which does not say %q", test.set, err, fe)
			}
		}
		if diff := cmp.Diff(test.want, names); diff != "" {
			t.Errorf("ParseJob with %q names (-want +got)\n%s", test.set, diff)
		}
		if strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("ParseJob with %q = %q, which is more than a line", test.set, err)
		}
	}
}

func TestEventID(t *testing.T) {
	if got, want := provision.EventID("job-1", "4711", 2, "pulumi_up", provision.Failed), "job-1/4711/2/pulumi_up/failed"; got != want {
		t.Errorf("EventID = %q, want %q", got, want)
	}
	id := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,5}`)
	draw := func(t *rapid.T) [3]any {
		return [3]any{id.Draw(t, "job"), id.Draw(t, "run"), rapid.IntRange(1, 20).Draw(t, "attempt")}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		of := func(x [3]any) string {
			return provision.EventID(x[0].(string), x[1].(string), x[2].(int), "tenant_dns", provision.Started)
		}
		if (a == b) != (of(a) == of(b)) {
			t.Errorf("%v has the event %q, %v has %q", a, of(a), b, of(b))
		}
	})
}

func TestTerminal(t *testing.T) {
	for status, want := range map[provision.JobStatus]bool{
		provision.JobPending: false, provision.JobDispatched: false, provision.JobRunning: false,
		provision.JobCompleted: true, provision.JobFailed: true, provision.JobCancelled: true,
	} {
		if got := status.Terminal(); got != want {
			t.Errorf("%s.Terminal() = %t, want %t", status, got, want)
		}
	}
}
