package standin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A client meets the same faults without a network as with one, and in virtual time.
func TestTransport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		action standin.Action
		status int
		body   string
		err    error // of the request, or of reading the body
	}{
		"passes":    {standin.Action{}, 201, "POST /a?b=c in", nil},
		"lost":      {standin.Action{Lose: true}, 0, "", io.EOF},
		"late":      {standin.Action{Delay: time.Hour}, 0, "", context.DeadlineExceeded},
		"in time":   {standin.Action{Delay: time.Minute - 1}, 201, "POST /a?b=c in", nil},
		"instead":   {standin.Action{Status: 502, Body: "no"}, 502, "no", nil},
		"truncated": {standin.Action{Handled: true, Status: 200, Body: "{", Header: http.Header{"Content-Length": {"9"}}}, 200, "{", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handled, sent := 0, false
				var faults standin.Faults
				faults.Set(func(*http.Request) standin.Action { return test.action })
				client := &http.Client{Transport: standin.Transport{Handler: faults.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					handled++
					body, _ := io.ReadAll(r.Body)
					w.WriteHeader(201)
					io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body))
				}))}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
				req, err := http.NewRequestWithContext(ctx, "POST", "http://host/a?b=c", strings.NewReader("in"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				status, body := 0, []byte(nil)
				if err == nil {
					status = resp.StatusCode
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if status != test.status || string(body) != test.body || !errors.Is(err, test.err) {
					t.Errorf("%d %q, %v; want %d %q, %v", status, body, err, test.status, test.body, test.err)
				}
				if want := test.action.Status == 0 || test.action.Handled; (handled == 1) != want || !sent {
					t.Errorf("handled %d times, sent is %t", handled, sent)
				}
			})
		})
	}
}
