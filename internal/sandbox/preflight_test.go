package sandbox

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// TestPreflight has everything be wrong at the same time: it is all named at once, each
// thing with its cure, and nothing is made or started.
func TestPreflight(t *testing.T) {
	s := startSandbox(t, Options{})
	message := provision.Message{
		JobID: "job_hand_1", TenantID: "elm-5", Region: "eu", CreateNewServer: "true",
		SubdomainSlug: "elm-5", CanonicalHostname: "elm-5." + zoneName,
	}
	before := s.world(t)
	refused := s.actIn(t, []string{"PULUMI_BACKEND_URL=file:///nowhere/at/all", "INTERNAL_API_KEY=not-the-key", "HCLOUD_TOKEN_EU=not-the-token"},
		3, message, "--ssh-key-name", "ops")
	for says, cure := range map[string]string{
		"pulumi_up: the backend file:///nowhere/at/all is no folder": "PULUMI_BACKEND_URL",
		"pulumi_up: ask whether the token may write":                 "HCLOUD_TOKEN",
		"provision_complete: job job_hand_1: control plane answered": "INTERNAL_API_KEY",
	} {
		if !strings.Contains(refused.Error, says) || !strings.Contains(refused.NextAction, cure) {
			t.Errorf("error %q, next %q; want %q and %q", refused.Error, refused.NextAction, says, cure)
		}
		if i := strings.Index(refused.log, says); i < 0 || !strings.Contains(refused.log[i:], "; next: ") {
			t.Errorf("the log does not say %q with its cure:\n%s", says, refused.log)
		}
	}
	if diff := cmp.Diff(before, s.world(t)); diff != "" {
		t.Errorf("the check changed something (-before +after):\n%s", diff)
	}
	if strings.Contains(refused.log, "create ") {
		t.Errorf("something was begun:\n%s", refused.log)
	}

	// What is not on sale is seen before anything is made, and a plan says so too.
	for _, location := range []string{"nbg1", "fsn1", "hel1"} {
		s.Hetzner.SetUnavailable("cpx22", location, true)
	}
	for _, mode := range []string{"apply", "plan"} {
		full := s.act(t, 6, message, "--mode", mode)
		if !strings.Contains(full.Error, "cpx22 at hel1 (cpx22 is not available there at the moment)") {
			t.Errorf("%s: %q", mode, full.Error)
		}
	}
	if n := len(s.Hetzner.Names(s.hetznerToken)["firewalls"]); n != 0 {
		t.Errorf("%d firewalls were made", n)
	}
	s.Hetzner.SetUnavailable("cpx22", "hel1", false)
	made := s.act(t, 0, message)
	if len(made.Servers) != 1 || made.Servers[0].Location != "hel1" || !slices.Contains(made.Warnings, "cpx22 at nbg1 is left out: cpx22 is not available there at the moment") {
		t.Errorf("servers %+v, warnings %q; want one at hel1, and why not elsewhere", made.Servers, made.Warnings)
	}
	// It is there, so what is on sale does not matter any more.
	s.Hetzner.SetUnavailable("cpx22", "hel1", true)
	if again := s.act(t, 0, message); len(s.Hetzner.Servers(s.hetznerToken)) != 1 || again.Servers[0].ID != made.Servers[0].ID {
		t.Errorf("the same job again: %+v", again.Servers)
	}
}

// TestElsewhere has Hetzner refuse what its catalogue says is there.
func TestElsewhere(t *testing.T) {
	s := startSandbox(t, Options{})
	s.Hetzner.SetFull("cpx22", "nbg1", true)
	s.Hetzner.SetFull("cpx22", "fsn1", true)
	message := provision.Message{
		JobID: "job_hand_1", TenantID: "elm-5", Region: "eu", CreateNewServer: "true",
		SubdomainSlug: "elm-5", CanonicalHostname: "elm-5." + zoneName,
	}
	flags := []string{"--server-location", "us=ash,eu=nbg1|fsn1", "--server-type", "cpx22|cx33"}
	made := s.act(t, 0, message, flags...)
	if len(made.Servers) != 1 || made.Servers[0].Location != "nbg1" || made.Servers[0].Type != "cx33" {
		t.Errorf("servers %+v, want a cx33 at nbg1", made.Servers)
	}
	for _, says := range []string{": cpx22 at nbg1 (resource_unavailable); trying cpx22 at fsn1", ": cpx22 at fsn1 (resource_unavailable); trying cx33 at nbg1"} {
		if !strings.Contains(made.log, says) {
			t.Errorf("the log does not say %q:\n%s", says, made.log)
		}
	}
	if again := s.act(t, 0, message, flags...); len(s.Hetzner.Servers(s.hetznerToken)) != 1 || again.Servers[0].ID != made.Servers[0].ID {
		t.Errorf("the same job again: %+v", again.Servers)
	}
}
