package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// fakeGitHub answers for GitHub's API: the file "workflow" is the workflow, what is
// dispatched is appended to the file "dispatched", and the runs are 42, 43 and so on.
func fakeGitHub(ts *testscript.TestScript, neg bool, args []string) {
	var mu sync.Mutex
	file := ts.ReadFile("workflow")
	runs := 41
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/o/r/contents/.github/workflows/provision-tenant.yml", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"type": "file", "encoding": "base64",
			"content": base64.StdEncoding.EncodeToString([]byte(file))})
	})
	mux.HandleFunc("POST /repos/o/r/actions/workflows/provision-tenant.yml/dispatches", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+ts.Getenv("GITHUB_TOKEN") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		record(ts, "dispatched", r)
		runs++
		fmt.Fprintf(w, `{"workflow_run_id":%d,"run_url":"https://example.com/api/%[1]d","html_url":"https://example.com/%[1]d"}`, runs)
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	ts.Setenv("GITHUB_API_URL", s.URL)
}

// record appends the body of r to a file of the script.
func record(ts *testscript.TestScript, name string, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = f.Write(append(bytes.TrimSpace(body), '\n'))
	ts.Check(err)
	ts.Check(f.Close())
}

// answers ADDRESS STATUS... sets ADDRESS to where a server listens that gives these answers,
// one after the other and the last one for ever; what it was sent is appended to the file
// "sent". Each is a status, or a status, a slash and a body.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	var mu sync.Mutex
	list := args[1:]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		record(ts, "sent", r)
		if want := "Bearer " + ts.Getenv("DISPATCHER_API_KEY"); r.Method != "POST" || r.URL.Path != "/dispatch" || r.Header.Get("Authorization") != want {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		status, body, _ := strings.Cut(list[0], "/")
		if len(list) > 1 {
			list = list[1:]
		}
		n, err := strconv.Atoi(status)
		ts.Check(err)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(n)
		_, _ = io.WriteString(w, body)
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}
