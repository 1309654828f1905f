package cloudflare_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A clock tells the time that a test wants.
type clock struct{ now time.Time }

func newClock() *clock                 { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }
func (c *clock) time() time.Time       { return c.now }
func (c *clock) after(d time.Duration) { c.now = c.now.Add(d) }

// A pull is what one request for messages brought.
type pull struct {
	Messages []struct {
		ID, Body string
		Lease    string `json:"lease_id"`
		Attempts int
		Millis   int64 `json:"timestamp_ms"`
		Metadata map[string]string
	}
	Backlog int `json:"message_backlog_count"`
}

// A jobs is a queue called jobs, spoken to over HTTP.
type jobs struct {
	caller
	*cloudflare.Server
	path string
}

func newJobs(t *testing.T, c *clock, o cloudflare.QueueOptions) jobs {
	t.Helper()
	o.Name = "jobs"
	s := newServer(cloudflare.Options{Queues: []cloudflare.QueueOptions{o}, Now: c.time, ReadToken: "read-only"})
	return jobs{serve(t, s.Handler()), s, "/accounts/" + s.AccountID() + "/queues/" + s.QueueID("jobs")}
}

func (j jobs) send(contentType, body string) string {
	j.Helper()
	id, err := j.Send("jobs", contentType, []byte(body))
	if err != nil {
		j.Fatal(err)
	}
	return id
}

func (j jobs) pull(body string) pull {
	j.Helper()
	a := j.do("POST", j.path+"/messages/pull", body)
	var p pull
	if err := json.Unmarshal(a.Result, &p); err != nil || a.Status != 200 {
		j.Fatalf("pull %s: %d %v %s", body, a.Status, a.Errors, a.Result)
	}
	return p
}

// ack settles, and returns the counts of acknowledgements and retries and of warnings.
func (j jobs) ack(body string) [3]int {
	j.Helper()
	a := j.do("POST", j.path+"/messages/ack", body)
	var r struct {
		AckCount, RetryCount int
		Warnings             map[string]string
	}
	if err := json.Unmarshal(a.Result, &r); err != nil || a.Status != 200 {
		j.Fatalf("ack %s: %d %v %s", body, a.Status, a.Errors, a.Result)
	}
	return [3]int{r.AckCount, r.RetryCount, len(r.Warnings)}
}

func (j jobs) fate(id string, want cloudflare.State) {
	j.Helper()
	if got, ok := j.Fate("jobs", id); !ok || got != want {
		j.Errorf("message %s is %s, want %s", id, got, want)
	}
}

func acks(lease string) string { return fmt.Sprintf(`{"acks":[{"lease_id":%q}],"retries":[]}`, lease) }

func retries(lease string, seconds int) string {
	return fmt.Sprintf(`{"retries":[{"lease_id":%q,"delay_seconds":%d}]}`, lease, seconds)
}

// Its answers are those of the vendor's document, refusals too. The document has no way to
// push a message.
func TestQueueContract(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{ReadToken: "read-only", Queues: []cloudflare.QueueOptions{
		{Name: "jobs", DeadLetterQueue: "dead"}, {Name: "pushed", NoPull: true},
	}})
	c := serve(t, contract.Handler(t, "cloudflare.json", "/client/v4", s.Handler()))
	j := jobs{c, s, "/accounts/" + s.AccountID() + "/queues/" + s.QueueID("jobs")}
	for _, kind := range []string{"json", "text", "bytes", "v8"} {
		j.send(kind, `{"a":1}`)
	}
	j.pull("{}")
	j.send("", `"x"`)
	p := j.pull(`{"batch_size":100,"visibility_timeout_ms":60000}`)
	if got := j.ack(fmt.Sprintf(`{"acks":[{"lease_id":"x"}],"retries":[{"lease_id":%q,"delay_seconds":1}]}`, p.Messages[0].Lease)); got != [3]int{0, 1, 1} {
		t.Errorf("ack = %v", got)
	}
	for _, name := range []string{"jobs", "pushed", "dead"} {
		if a := c.do("GET", "/accounts/"+s.AccountID()+"/queues/"+s.QueueID(name)+"/consumers", ""); a.Status != 200 {
			t.Errorf("consumers of %s: %d %v", name, a.Status, a.Errors)
		}
	}
	for _, tt := range []struct {
		path, body   string
		status, code int
	}{
		{j.path + "/messages/pull", `{"batch_size":101}`, 400, 10206},
		{j.path + "/messages/pull", `{"batch_size":0}`, 400, 10206},
		{j.path + "/messages/pull", `{"visibility_timeout_ms":43200001}`, 400, 10207},
		{j.path + "/messages/ack", retries("x", 43201), 400, 10203},
		{j.path + "/messages/ack", `{"acks":[` + strings.Repeat(`{},`, 100) + `{}]}`, 400, 10206},
		{strings.Replace(j.path, s.QueueID("jobs"), s.QueueID("pushed"), 1) + "/messages/pull", `{}`, 405, 10405},
		{strings.Replace(j.path, s.QueueID("jobs"), strings.Repeat("0", 32), 1) + "/messages/pull", `{}`, 404, 10104},
		{strings.Replace(j.path, s.QueueID("jobs"), "jobs", 1) + "/messages/ack", `{}`, 400, 10107},
		{strings.Replace(j.path, s.AccountID(), strings.Repeat("0", 32), 1) + "/messages/ack", `{}`, 403, 10000},
	} {
		if a := c.do("POST", tt.path, tt.body); a.Status != tt.status || a.Errors[0].Code != tt.code {
			t.Errorf("POST %s %.50s: %d %v, want %d %d", tt.path, tt.body, a.Status, a.Errors, tt.status, tt.code)
		}
	}
	c.token = "read-only"
	if a := c.do("POST", j.path+"/messages/pull", "{}"); a.Status != 403 || a.Errors[0].Code != 10000 {
		t.Errorf("a pull that may read only: %d %v", a.Status, a.Errors)
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	j := newJobs(t, newClock(), cloudflare.QueueOptions{})
	want := map[string]string{"json": "eyJhIjoxfQ==", "text": `{"a":1}`, "bytes": "eyJhIjoxfQ==", "v8": "eyJhIjoxfQ=="}
	for kind := range want {
		j.send(kind, `{"a":1}`)
	}
	got := map[string]string{}
	for _, m := range j.pull(`{}`).Messages {
		got[m.Metadata["CF-Content-Type"]] = m.Body
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// A message that nobody settles comes again when its lease ends, until its attempts are
// used up. The lease of an earlier delivery is worth nothing.
func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	for _, dead := range []string{"", "dead"} {
		c := newClock()
		j := newJobs(t, c, cloudflare.QueueOptions{MaxRetries: 2, DeadLetterQueue: dead})
		id := j.send("", `{"a":1}`)
		first := j.pull(`{"visibility_timeout_ms":1000}`)
		if n := len(j.pull(`{}`).Messages); n != 0 || first.Backlog != 1 {
			t.Errorf("a leased message was delivered %d times more; backlog %d", n, first.Backlog)
		}
		c.after(999 * time.Millisecond)
		j.fate(id, cloudflare.Leased)
		c.after(time.Millisecond)
		j.fate(id, cloudflare.Ready)
		second := j.pull(`{"visibility_timeout_ms":1000}`)
		if m := second.Messages[0]; m.ID != id || m.Attempts != 2 || m.Lease == first.Messages[0].Lease {
			t.Errorf("the second delivery is %+v after %+v", m, first.Messages[0])
		}
		for _, body := range []string{acks(first.Messages[0].Lease), retries(first.Messages[0].Lease, 0)} {
			if got := j.ack(body); got != [3]int{0, 0, 1} {
				t.Errorf("the lease that has ended settles %v", got)
			}
		}
		j.fate(id, cloudflare.Leased)
		c.after(time.Second)
		want, end := cloudflare.Counts{Sent: 1, Delivered: 2, LeasesLost: 2, Ignored: 2, Pulls: 3, EmptyPulls: 1, Deleted: 1}, cloudflare.Deleted
		if dead != "" {
			want.Deleted, want.DeadLettered, end = 0, 1, cloudflare.DeadLettered
		}
		j.fate(id, end)
		if diff := cmp.Diff(want, j.Counts("jobs")); diff != "" {
			t.Errorf("counts with dead-letter queue %q (-want +got):\n%s", dead, diff)
		}
		if got := j.Messages("dead"); len(got) != len(dead)/4 || len(got) == 1 && string(got[0].Body) != `{"a":1}` {
			t.Errorf("the dead-letter queue %q has %+v", dead, got)
		}
	}
}

func TestLateAcks(t *testing.T) {
	t.Parallel()
	c := newClock()
	j := newJobs(t, c, cloudflare.QueueOptions{LateAcks: true})
	id := j.send("", `1`)
	first := j.pull(`{}`)
	c.after(30 * time.Second)
	second := j.pull(`{}`)
	for i, want := range [][3]int{{1, 0, 0}, {0, 0, 1}} {
		if got := j.ack(acks([]pull{first, second}[i].Messages[0].Lease)); got != want {
			t.Errorf("acknowledgement %d settles %v, want %v", i, got, want)
		}
	}
	j.fate(id, cloudflare.Acked)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	c := newClock()
	j := newJobs(t, c, cloudflare.QueueOptions{RetryDelay: time.Minute})
	id := j.send("", `1`)
	for i, tt := range []struct {
		body string // of the retry, which may have a %s for the lease
		wait time.Duration
		end  cloudflare.State
	}{
		{`{"retries":[{"lease_id":"%s","delay_seconds":90}]}`, 90 * time.Second, cloudflare.Ready},
		{`{"retries":[{"lease_id":"%s"}]}`, time.Minute, cloudflare.Ready},
		{`{"retries":[{"lease_id":"%s","delay_seconds":0}]}`, 0, cloudflare.Deleted},
	} {
		p := j.pull(`{}`)
		if got := j.ack(fmt.Sprintf(tt.body, p.Messages[0].Lease)); got != [3]int{0, 1, 0} {
			t.Fatalf("retry %d settles %v", i, got)
		}
		if tt.wait > 0 {
			c.after(tt.wait - time.Nanosecond)
			j.fate(id, cloudflare.Delayed)
			if n := len(j.pull(`{}`).Messages); n > 0 {
				t.Errorf("retry %d is delivered before its time", i)
			}
			c.after(time.Nanosecond)
		}
		j.fate(id, tt.end)
	}
	id = j.send("", `1`)
	j.pull(`{}`)
	c.after(30 * time.Second)
	j.fate(id, cloudflare.Delayed) // by its consumer's setting, as nobody said otherwise
	c.after(time.Minute)
	j.fate(id, cloudflare.Ready)
}

func TestRetention(t *testing.T) {
	t.Parallel()
	c := newClock()
	j := newJobs(t, c, cloudflare.QueueOptions{Retention: time.Hour, RetryDelay: 2 * time.Hour, MaxRetries: 9})
	leased, first := j.send("", `1`), j.pull(`{"visibility_timeout_ms":7200000}`)
	delayed := j.send("", `2`)
	j.ack(retries(j.pull(`{}`).Messages[0].Lease, 43200))
	ready := j.send("", `3`)
	c.after(time.Hour - time.Nanosecond)
	if n := len(j.Messages("jobs")); n != 3 {
		t.Errorf("%d messages before the end of the retention", n)
	}
	c.after(time.Nanosecond)
	for _, id := range []string{leased, delayed, ready} {
		j.fate(id, cloudflare.Expired)
	}
	if got := j.ack(acks(first.Messages[0].Lease)); got != [3]int{0, 0, 1} || len(j.pull(`{}`).Messages) != 0 {
		t.Errorf("the lease of a message that has expired settles %v", got)
	}
}

// A batch is bounded in messages and in bytes, and is not in order.
func TestBatch(t *testing.T) {
	t.Parallel()
	j := newJobs(t, newClock(), cloudflare.QueueOptions{})
	var sent, got []string
	for range 150 {
		sent = append(sent, j.send("text", "x"))
	}
	for _, m := range j.pull(`{"batch_size":100}`).Messages {
		got = append(got, m.ID)
	}
	if len(got) != 100 || slices.Equal(got, sent[:100]) {
		t.Errorf("a batch of %d, in order: %v", len(got), slices.Equal(got, sent[:100]))
	}
	if n := len(j.pull(`{"batch_size":100}`).Messages); n != 50 {
		t.Errorf("then one of %d, want 50", n)
	}
	for range 3 {
		j.send("text", strings.Repeat("x", 127_900))
	}
	if n := len(j.pull(`{"batch_size":3}`).Messages); n != 2 {
		t.Errorf("a batch of %d of the largest messages, want 2", n)
	}
	for kind, body := range map[string]string{"text": strings.Repeat("x", 127_901), "json": "{", "html": "x"} {
		if _, err := j.Send("jobs", kind, []byte(body)); err == nil {
			t.Errorf("a message of type %s and %d bytes was taken", kind, len(body))
		}
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	j := newJobs(t, newClock(), cloudflare.QueueOptions{DuplicateEvery: 3})
	for range 4 {
		j.send("", `1`)
	}
	seen := map[string]int{}
	leases := map[string]bool{}
	for _, m := range j.pull(`{"batch_size":100}`).Messages {
		seen[m.ID]++
		leases[m.Lease] = true
		j.ack(acks(m.Lease))
	}
	c := j.Counts("jobs")
	if len(seen) != 4 || len(leases) != 5 || c.Duplicated != 1 || c.Acked != 5 || c.Delivered != 5 {
		t.Errorf("%d messages by %d leases, %+v, want 4 by 5", len(seen), len(leases), c)
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	c := newClock()
	j := newJobs(t, c, cloudflare.QueueOptions{})
	for _, tt := range []struct {
		body         string
		status, code int
	}{
		{`{"body":{"a": 1}}`, 200, 0},
		{`{"body":"x","content_type":"text","delay_seconds":60}`, 200, 0},
		{`{"body":1,"content_type":"text"}`, 400, 10207},
		{`{"body":"x","content_type":"v8"}`, 400, 10203},
		{`{"content_type":"json"}`, 400, 10207},
		{`{"body":1,"delay_seconds":43201}`, 400, 10203},
		{`{"body":`, 400, 10208},
		{`{"body":"` + strings.Repeat("x", 127_899) + `"}`, 413, 10204},
	} {
		if a := j.do("POST", j.path+"/messages", tt.body); a.Status != tt.status || tt.code != 0 && a.Errors[0].Code != tt.code {
			t.Errorf("push %.60s: %d %v, want %d %d", tt.body, a.Status, a.Errors, tt.status, tt.code)
		}
	}
	list := j.Messages("jobs")
	if len(list) != 2 || string(list[0].Body) != `{"a":1}` || list[1].State != cloudflare.Delayed || list[1].ContentType != "text" {
		t.Errorf("the queue has %+v", list)
	}
}

// The answers are lost, not what they were about.
func TestQueueFaults(t *testing.T) {
	t.Parallel()
	j := newJobs(t, newClock(), cloudflare.QueueOptions{})
	id := j.send("", `1`)
	lose := func(path, body string) {
		j.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Lose: true} })
		defer j.Faults.Set(nil)
		r := httptest.NewRequest("POST", "/client/v4"+j.path+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the answer was not lost")
			}
		}()
		j.Handler().ServeHTTP(httptest.NewRecorder(), r)
	}
	lose("/messages/pull", "{}")
	j.fate(id, cloudflare.Leased)
	second := j.send("", `2`)
	p := j.pull(`{}`)
	lose("/messages/ack", acks(p.Messages[0].Lease))
	j.fate(second, cloudflare.Acked)
	if got := j.ack(acks(p.Messages[0].Lease)); got != [3]int{0, 0, 1} {
		t.Errorf("the same acknowledgement again settles %v", got)
	}
}

// Pulls count against the account's limit like any other request.
func TestQueueRateLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	j := newJobs(t, c, cloudflare.QueueOptions{})
	for range 1200 {
		j.pull(`{}`)
	}
	if a := j.do("GET", "/zones/"+j.ZoneID(), ""); a.Status != 429 || a.Header.Get("Retry-After") != "300" {
		t.Errorf("request 1,201: %d, Retry-After %q, want 429, 300", a.Status, a.Header.Get("Retry-After"))
	}
}

func BenchmarkQueue(b *testing.B) {
	for b.Loop() {
		s := newServer(cloudflare.Options{RateLimit: 1 << 30, Queues: []cloudflare.QueueOptions{{Name: "jobs"}}})
		h := s.Handler()
		path := "/client/v4/accounts/" + s.AccountID() + "/queues/" + s.QueueID("jobs") + "/messages/"
		do := func(path, body string) (a answer) {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				b.Fatal(err)
			}
			return a
		}
		body := []byte(`{"x":"` + strings.Repeat("x", 500) + `"}`)
		for range 100_000 {
			if _, err := s.Send("jobs", "json", body); err != nil {
				b.Fatal(err)
			}
		}
		for s.Counts("jobs").Acked < 100_000 {
			var p pull
			if err := json.Unmarshal(do(path+"pull", `{"batch_size":100}`).Result, &p); err != nil {
				b.Fatal(err)
			}
			var leases []string
			for _, m := range p.Messages {
				leases = append(leases, fmt.Sprintf(`{"lease_id":%q}`, m.Lease))
			}
			do(path+"ack", `{"acks":[`+strings.Join(leases, ",")+`]}`)
		}
	}
}
