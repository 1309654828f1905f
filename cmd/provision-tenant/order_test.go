package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// TestOrdered reads what new servers shall be, for the job's region.
func TestOrdered(t *testing.T) {
	t.Parallel()
	base := map[string]string{"job_id": "job_1", "tenant_id": "acme", "region": "eu", "create_new_server": "true",
		"subdomain_slug": "acme", "canonical_hostname": "acme.pregoi.com"}
	for name, test := range map[string]struct {
		given string // NAME=VALUE, separated by blanks
		want  provision.Order
		wrong string // the input, and what is wrong with it
	}{
		"nothing": {"", provision.Order{Locations: []string{"nbg1", "fsn1", "hel1"}, Types: []string{"cpx22"}, Image: "ubuntu-24.04"}, ""},
		"for all regions": {"server_location=fsn1|nbg1 server_type=cx33|cpx22 ssh_key_name=ops",
			provision.Order{Locations: []string{"fsn1", "nbg1"}, Types: []string{"cx33", "cpx22"}, Image: "ubuntu-24.04", SSHKey: "ops"}, ""},
		"for each region": {"server_location=us=ash|hil,eu=hel1 server_type=sg=cpx22",
			provision.Order{Locations: []string{"hel1"}, Types: []string{"cpx22"}, Image: "ubuntu-24.04"}, ""},
		"a database of its own kind, on a shared stack": {"db_server_type=ccx13",
			provision.Order{Locations: []string{"nbg1", "fsn1", "hel1"}, Types: []string{"cpx22"}, Image: "ubuntu-24.04"}, ""},
		"on a dedicated one": {"dedicated=true db_server_type=ccx13 redis_server_type=eu=cx33",
			provision.Order{Locations: []string{"nbg1", "fsn1", "hel1"}, Types: []string{"cpx22"}, DBTypes: []string{"ccx13"}, RedisTypes: []string{"cx33"}, Image: "ubuntu-24.04"}, ""},
		"a program of one's own decides": {"pulumi_repo=https://example.com/x ssh_key_name=ops server_image=debian-12", provision.Order{}, ""},
		"or is told":                     {"pulumi_repo=https://example.com/x server_location=nbg1|fsn1", provision.Order{Locations: []string{"nbg1", "fsn1"}}, ""},
		"no such region":                 {"server_location=mars=nbg1", provision.Order{}, "server_location region=value"},
		"nothing between":                {"server_location=nbg1||fsn1", provision.Order{}, "server_location a name such as nbg1"},
		"nothing for a region":           {"server_type=eu=", provision.Order{}, "server_type a name such as nbg1"},
		"a list with commas":             {"server_location=nbg1,fsn1", provision.Order{}, "server_location a name such as nbg1"},
		"a region twice":                 {"server_location=eu=nbg1,eu=fsn1", provision.Order{}, "server_location region eu twice"},
		"twice":                          {"server_type=cpx22|cpx22", provision.Order{}, "server_type cpx22 twice"},
	} {
		t.Run(name, func(t *testing.T) {
			given := map[string]string{}
			for field := range strings.FieldsSeq(test.given) {
				input, value, _ := strings.Cut(field, "=")
				given[input] = value
			}
			req, err := parseInputs(func(input string) string {
				if v := given[input]; v != "" {
					return v
				}
				return base[input]
			})
			if test.wrong != "" {
				input, says, _ := strings.Cut(test.wrong, " ")
				if fields := provision.FieldErrors(err); len(fields) != 1 || fields[0].Field != input || !strings.Contains(fields[0].Reason, says) {
					t.Errorf("%v, want one word on %s: %q", err, input, says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, req.ordered()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}
