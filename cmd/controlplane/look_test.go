package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

// That there is no run is only said where the list of runs was seen.
func TestLook(t *testing.T) {
	t.Parallel()
	const named = "run-name: provision ${{ inputs.job_id }} for a tenant\non: {workflow_dispatch: {inputs: {job_id: {type: string}}}}\njobs: {}\n"
	const run = `{"id":7,"status":"completed","conclusion":"failure","run_attempt":1,"html_url":"https://example.com/7"}`
	const listed = `{"total_count":1,"workflow_runs":[{"id":7,"event":"workflow_dispatch","display_title":"provision job_acme for a tenant"}]}`
	const empty = `{"total_count":0,"workflow_runs":[]}`
	ended := server.RunState{ID: "7", URL: "https://example.com/7", Status: "completed", Conclusion: "failure"}
	for _, test := range []struct {
		name      string
		runID     string
		past      string // the run of the attempt before
		file      string
		run, list string // empty for 404
		want      server.RunState
		wantErr   provision.Class
	}{
		{"by its id", "7", "", named, run, "", ended, ""},
		{"by its name", "", "", named, run, listed, ended, ""},
		{"of another id than its name says", "8", "", named, run, listed, ended, ""},
		{"there is none", "", "", named, "", empty, server.RunState{}, ""},
		{"it is gone", "7", "", named, "", empty, server.RunState{}, ""},
		{"the list is not shown to us", "7", "", named, "", "", server.RunState{}, provision.NotFound},
		{"the list is not shown to us, and no id", "", "", named, "", "", server.RunState{}, provision.NotFound},
		{"runs do not carry the job's id", "", "", "on: {workflow_dispatch: {}}\njobs: {}\n", "", empty, server.RunState{}, provision.Invalid},
		{"an answer that is none", "7", "", named, "{}", "", server.RunState{}, provision.Busy},
		{"of an attempt before, by its name", "", "7", named, run, listed, server.RunState{}, ""},
		{"of this attempt, by its name", "", "6", named, run, listed, ended, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mux := http.NewServeMux()
			answer := func(pattern, body string) {
				mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					if body == "" {
						w.WriteHeader(http.StatusNotFound)
						_, _ = io.WriteString(w, `{"message":"Not Found"}`)
						return
					}
					_, _ = io.WriteString(w, body)
				})
			}
			answer("GET /repos/o/r/actions/runs/7", test.run)
			answer("GET /repos/o/r/actions/runs/8", "")
			answer("GET /repos/o/r/actions/workflows/w.yml/runs", test.list)
			answer("GET /repos/o/r/contents/.github/workflows/w.yml", fmt.Sprintf(`{"type":"file","encoding":"base64","content":%q}`,
				base64.StdEncoding.EncodeToString([]byte(test.file))))
			s := httptest.NewServer(mux)
			defer s.Close()
			ask := look(github.Workflow{BaseURL: s.URL, Repo: "o/r", File: "w.yml", Token: "t"})
			got, err := ask(t.Context(), store.Job{Job: provision.Job{ID: "job_acme"}, RunID: test.runID, PastRunID: test.past, CreatedAt: time.Now()})
			if got != test.want || provision.ClassOf(err) != test.wantErr {
				t.Errorf("%+v, %v, want %+v and an error %q", got, err, test.want, test.wantErr)
			}
		})
	}
}

// What is pushed into the queue is the message, every field a string.
func TestQueue(t *testing.T) {
	t.Parallel()
	var got []json.RawMessage
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/accounts/0123456789abcdef0123456789abcdef/queues/fedcba9876543210fedcba9876543210/messages" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		got = append(got, body)
		_, _ = io.WriteString(w, `{"success":true,"errors":[],"messages":[],"result":{}}`)
	}))
	defer s.Close()
	push := queueTrigger(triggerConfig{queueAPIURL: s.URL, queueToken: "t",
		queueAccount: "0123456789abcdef0123456789abcdef", queueID: "fedcba9876543210fedcba9876543210"})
	job := provision.Job{ID: "job_acme", TenantID: "acme", Region: "sg", CreateNewServer: true, SubdomainSlug: "acme", CanonicalHostname: "acme.example.com"}
	var want []json.RawMessage
	for attempt, suffix := range map[int]string{1: "", 2: `,"attempt":"2"`} {
		id, url, err := push(t.Context(), job, attempt)
		if id != "" || url != "" || err != nil {
			t.Errorf("%q, %q, %v, want no run yet", id, url, err)
		}
		want = append(want, json.RawMessage(`{"body":{"job_id":"job_acme","tenant_id":"acme","region":"sg","create_new_server":"true","target_server_id":"",`+
			`"subdomain_slug":"acme","canonical_hostname":"acme.example.com","dedicated":"false"`+suffix+`},"content_type":"json"}`))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pushed (-want +got):\n%s", diff)
	}
}
