package cloudflare_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/provision"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A jobs is a stand-in with a queue called jobs, and a Queue that speaks to it.
type jobs struct {
	*testing.T
	*cloudflare.Queue
	server  *sandbox.Server
	ignored []string // what the Queue was told
}

func startQueue(t *testing.T, o sandbox.Options, q sandbox.QueueOptions) *jobs {
	t.Helper()
	q.Name = "jobs"
	o.Token, o.Queues = token, append(o.Queues, q)
	s := sandbox.New(o)
	return queueAt(t, s, s.Handler())
}

func queueAt(t *testing.T, s *sandbox.Server, h http.Handler) *jobs {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	j := &jobs{T: t, server: s}
	j.Queue = &cloudflare.Queue{
		BaseURL: server.URL + "/client/v4", AccountID: s.AccountID(), ID: s.QueueID("jobs"), Token: token,
		Ignored: func(lease, why string) { j.ignored = append(j.ignored, why) },
	}
	return j
}

func (j *jobs) send(contentType, body string) string {
	j.Helper()
	id, err := j.server.Send("jobs", contentType, []byte(body))
	if err != nil {
		j.Fatal(err)
	}
	return id
}

// pull returns a batch of n messages.
func (j *jobs) pull(n int) []cloudflare.Delivery {
	j.Helper()
	b, err := j.Pull(j.Context(), 100, time.Minute)
	if err != nil || len(b.Messages) != n {
		j.Fatalf("Pull = %+v, %v, want %d messages", b, err, n)
	}
	return b.Messages
}

func (j *jobs) settle(acks []string, retries ...cloudflare.Retry) {
	j.Helper()
	if err := j.Settle(j.Context(), acks, retries); err != nil {
		j.Fatal(err)
	}
}

// What goes over the wire is what the vendor's document says.
func TestQueueContract(t *testing.T) {
	t.Parallel()
	s := sandbox.New(sandbox.Options{Token: token, Queues: []sandbox.QueueOptions{{Name: "jobs", DeadLetterQueue: "dead", MaxRetries: 9}}})
	j := queueAt(t, s, contract.Handler(t, "cloudflare.json", "/client/v4", s.Handler()))
	for i := range 4 {
		j.send("", fmt.Sprintf(`{"n":%d}`, i))
	}
	b, err := j.Pull(t.Context(), 3, 90*time.Second)
	if err != nil || len(b.Messages) != 3 || b.Backlog != 4 {
		t.Fatalf("Pull = %+v, %v, want 3 of 4", b, err)
	}
	m := b.Messages[0]
	if m.ID == "" || m.Lease == "" || m.Attempts != 1 || time.Since(m.At).Abs() > time.Minute || !json.Valid(m.Body) || m.Unreadable != nil {
		t.Errorf("a delivery is %+v", m)
	}
	j.settle([]string{m.Lease, b.Messages[1].Lease}, cloudflare.Retry{Lease: b.Messages[2].Lease, Delay: 1500 * time.Millisecond})
	if c := s.Counts("jobs"); c.Acked != 2 || c.Delayed != 1 || c.Ready != 1 {
		t.Errorf("counts %+v", c)
	}
	j.pull(1)
	j.pull(0)
	want := cloudflare.ConsumerSettings{DeadLetterQueue: "dead", MaxRetries: 9, BatchSize: 5, Visibility: 30 * time.Second}
	if got, err := j.Consumer(t.Context()); err != nil || got != want {
		t.Errorf("Consumer = %+v, %v, want %+v", got, err, want)
	}
	if len(j.ignored) > 0 {
		t.Errorf("ignored: %q", j.ignored)
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	if err := j.Push(t.Context(), []byte(`{"job_id":"1"}`)); err != nil {
		t.Fatal(err)
	}
	if m := j.pull(1)[0]; string(m.Body) != `{"job_id":"1"}` {
		t.Errorf("pulled %q", m.Body)
	}
	for _, body := range []string{"", "{", `"` + strings.Repeat("x", 128_000) + `"`} {
		if err := j.Push(t.Context(), []byte(body)); provision.ClassOf(err) != provision.Invalid || strings.Contains(err.Error(), "xxx") {
			t.Errorf("Push of %.10q and %d bytes = %v, want invalid", body, len(body), err)
		}
	}
}

// The bodies as they come, by their content type.
func TestBodies(t *testing.T) {
	t.Parallel()
	in64 := func(s string) string { return `"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"` }
	for _, tt := range []struct {
		metadata, body string
		want           string // after a !: unreadable
	}{
		{`{"CF-Content-Type":"json"}`, in64(`{"a":1}`), `{"a":1}`},
		{`{"cf-content-type":"JSON"}`, in64(`{"a":1}`), `{"a":1}`},
		{`{"CF-Content-Type":"json"}`, `{"a":1}`, `{"a":1}`},
		{`{"CF-Content-Type":"json"}`, `"{\"a\":1}"`, `{"a":1}`},
		{`{"CF-Content-Type":"json"}`, in64(`"{\"a\":1}"`), `{"a":1}`},
		{`{"CF-Content-Type":"json"}`, in64(`"text"`), `"text"`},
		{`{"CF-Content-Type":"json"}`, `"hello"`, `!hello`},
		{`{"CF-Content-Type":"json"}`, in64(`{"a":`), "!" + in64(`{"a":`)[1:9]},
		{`{"CF-Content-Type":"bytes"}`, in64(`{"a":1}`), `{"a":1}`},
		{`{"CF-Content-Type":"bytes"}`, in64("\x00\xff"), "\x00\xff"},
		{`{"CF-Content-Type":"bytes"}`, `"{\"a\":1}"`, `!{"a":1}`},
		{`{"CF-Content-Type":"bytes"}`, `{"a":1}`, `!{"a":1}`},
		{`{"CF-Content-Type":"text"}`, `"{\"a\":1}"`, `{"a":1}`},
		{`{"CF-Content-Type":"text"}`, `1`, `!1`},
		{`{"CF-Content-Type":"v8"}`, in64(`{"a":1}`), `!eyJhIjoxfQ==`},
		{`{"CF-Content-Type":"protobuf"}`, in64(`{"a":1}`), `!eyJhIjoxfQ==`},
		{`{}`, in64(`{"a":1}`), `{"a":1}`},
		{`null`, `"{\"a\":1}"`, `{"a":1}`},
	} {
		j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
		message := fmt.Sprintf(`{"id":"m\u001b1","lease_id":"l","attempts":2.0,"timestamp_ms":1.7e12,"metadata":%s,"body":%s}`, tt.metadata, tt.body)
		j.server.Faults.Set(func(*http.Request) standin.Action {
			return standin.Action{Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":{"messages":[` + message + `]}}`}
		})
		m := j.pull(1)[0]
		want, bad := strings.CutPrefix(tt.want, "!")
		if string(m.Body) != want || (m.Unreadable != nil) != bad {
			t.Errorf("%s with %s = %q, %v, want %q", tt.body, tt.metadata, m.Body, m.Unreadable, tt.want)
		}
		if m.Lease != "l" || m.Attempts != 2 || !m.At.Equal(time.UnixMilli(1_700_000_000_000)) {
			t.Errorf("%s: %+v", tt.body, m)
		}
		if bad && (provision.ClassOf(m.Unreadable) != provision.Invalid || strings.Contains(m.Unreadable.Error(), "\x1b")) {
			t.Errorf("%s with %s: %v is not invalid", tt.body, tt.metadata, m.Unreadable)
		}
		if advice := provision.NextAction(m.Unreadable); strings.Contains(tt.metadata, "v8") && !strings.Contains(advice, `contentType: "json"`) {
			t.Errorf("the advice for v8 is %q", advice)
		}
	}
}

// A message whose time is not told is not one of 1970, whose last delivery is long past.
func TestNoTimestamp(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	j.server.Faults.Set(func(*http.Request) standin.Action {
		return standin.Action{Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":{"messages":[{"id":"m","lease_id":"l","attempts":1,"body":{}}]}}`}
	})
	if m := j.pull(1)[0]; !m.At.IsZero() {
		t.Errorf("put into the queue at %s", m.At)
	}
}

// Delays are whole seconds, rounded up, of at most half a day.
func TestDelays(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for delay, want := range map[time.Duration]time.Duration{
		-time.Second: 0, 0: 0, 1: time.Second, time.Second: time.Second, 1001 * time.Millisecond: 2 * time.Second,
		12 * time.Hour: 12 * time.Hour, 12*time.Hour + 1: 12 * time.Hour, 1<<63 - 1: 12 * time.Hour,
	} {
		j := startQueue(t, sandbox.Options{Now: func() time.Time { return now }}, sandbox.QueueOptions{RetryDelay: time.Minute})
		j.send("", "1")
		j.settle(nil, cloudflare.Retry{Lease: j.pull(1)[0].Lease, Delay: delay})
		m := j.server.Messages("jobs")[0]
		if got := m.Due.Sub(now); m.State == sandbox.Delayed && got != want || (m.State == sandbox.Delayed) != (want > 0) {
			t.Errorf("a delay of %s is %s of %s, want %s", delay, m.State, got, want)
		}
	}
}

// Visibility and the size of a batch stay within what the vendor allows.
func TestPullBounds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		max        int
		visibility time.Duration
		want       int
		lease      time.Duration
	}{
		{0, 0, 1, 30 * time.Second},
		{3, time.Millisecond + 1, 3, 2 * time.Millisecond},
		{1000, 13 * time.Hour, 100, 12 * time.Hour},
	} {
		j := startQueue(t, sandbox.Options{Now: func() time.Time { return now }}, sandbox.QueueOptions{})
		for range 101 {
			j.send("text", "x")
		}
		b, err := j.Pull(t.Context(), tt.max, tt.visibility)
		if err != nil || len(b.Messages) != tt.want || b.Backlog != 101 {
			t.Fatalf("Pull(%d, %s) = %d of %d, %v, want %d", tt.max, tt.visibility, len(b.Messages), b.Backlog, err, tt.want)
		}
		for _, m := range j.server.Messages("jobs") {
			if m.State == sandbox.Leased && !m.Due.Equal(now.Add(tt.lease)) {
				t.Errorf("Pull(%d, %s) leases until %s after now, want %s", tt.max, tt.visibility, m.Due.Sub(now), tt.lease)
				break
			}
		}
	}
}

// What Cloudflare did not take is told, and is no error.
func TestIgnored(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	j.send("", "1")
	m := j.pull(1)[0]
	j.settle(nil)
	j.settle([]string{m.Lease, m.Lease, "unknown"}, cloudflare.Retry{Lease: "nor this"})
	if len(j.ignored) != 3 || j.server.Counts("jobs").Acked != 1 {
		t.Errorf("ignored %q, counts %+v, want 3 ignored and 1 acknowledged", j.ignored, j.server.Counts("jobs"))
	}
	for result, want := range map[string][]string{
		`{"ackCount":2,"retryCount":1}`:                   nil,
		`{"ackCount":1,"retryCount":0,"warnings":{}}`:     {"Cloudflare took 1 of 2 acknowledgements", "Cloudflare took 0 of 1 retries"},
		`{"ackCount":1,"retryCount":1,"warnings":["w"]}`:  {"w"},
		`{"ackCount":1,"warnings":{"a":"w\n"}}`:           {"w "},
		`{"ackCount":2.0,"retryCount":1,"warnings":null}`: nil,
		`{}`: nil,
	} {
		j.ignored = nil
		j.server.Faults.Set(func(*http.Request) standin.Action {
			return standin.Action{Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":` + result + `}`}
		})
		j.settle([]string{"a", "b"}, cloudflare.Retry{Lease: "c"})
		if diff := cmp.Diff(want, j.ignored); diff != "" {
			t.Errorf("%s (-want +got):\n%s", result, diff)
		}
	}
}

// More leases than one request takes are settled by several.
func TestSettleMany(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	var acks []string
	var retries []cloudflare.Retry
	for range 4 {
		for range 100 {
			j.send("text", "x")
		}
		for _, m := range j.pull(100) {
			if len(acks) < 250 {
				acks = append(acks, m.Lease)
			} else {
				retries = append(retries, cloudflare.Retry{Lease: m.Lease, Delay: time.Hour})
			}
		}
	}
	j.settle(acks, retries...)
	requests := slices.DeleteFunc(j.server.Calls(), func(c string) bool { return !strings.HasSuffix(c, "/ack") })
	if c := j.server.Counts("jobs"); c.Acked != 250 || c.Delayed != 150 || len(requests) != 4 {
		t.Errorf("%+v by %d requests, want 250 acknowledged and 150 delayed by 4", c, len(requests))
	}
}

func TestQueueFaults(t *testing.T) {
	t.Parallel()
	refusal := func(code string) string {
		return `{"success":false,"errors":[{"code":` + code + `,"message":"the words"}],"messages":[],"result":null}`
	}
	none := -time.Second // of a limit that is not told
	for name, tt := range map[string]struct {
		status      int
		body, retry string
		want        provision.Class
		next        string
		limit       time.Duration // 0: it is none
	}{
		"limited":           {429, refusal("971"), "299", provision.Busy, "wait 4m59s", 299 * time.Second},
		"limited, no wait":  {429, refusal("971"), "", provision.Busy, "", 5 * time.Minute},
		"limited, a page":   {429, "error code: 1015", "", provision.Busy, "", 5 * time.Minute},
		"overloaded":        {429, refusal("10250"), "", provision.Busy, "", none},
		"overloaded, told":  {429, refusal("10250"), "7", provision.Busy, "wait 7s", 7 * time.Second},
		"broken":            {500, refusal("15000"), "", provision.Busy, "", 0},
		"maintenance":       {503, "", "30", provision.Busy, "wait 30s", 0},
		"permission":        {403, refusal("10000"), "", provision.Denied, "Queues:Edit", 0},
		"gateway":           {400, refusal("10106"), "", provision.Denied, "Queues:Edit", 0},
		"no such queue":     {400, refusal("10104"), "", provision.NotFound, "", 0},
		"no such route":     {404, refusal("7003"), "", provision.NotFound, "", 0},
		"malformed id":      {400, refusal("10107"), "", provision.Invalid, "", 0},
		"no pull consumer":  {405, refusal("10405"), "", provision.NotFound, "wrangler queues consumer http add", 0},
		"schema":            {400, refusal("10207"), "", provision.Invalid, "", 0},
		"cut off":           {200, `{"success":true,"errors":[],"result":{"mess`, "", provision.Busy, "", 0},
		"another shape":     {200, `{"success":true,"errors":[],"messages":[],"result":["x"]}`, "", provision.Busy, "", 0},
		"another shape too": {200, `{"success":true,"errors":[],"messages":[],"result":{"messages":[1],"ackCount":"x"}}`, "", provision.Busy, "", 0},
		"too long":          {200, `{"success":true,"result":"` + strings.Repeat("x", 32<<20) + `"}`, "", provision.Busy, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
			h := http.Header{"Cf-Ray": {"ray-1"}}
			if tt.retry != "" {
				h.Set("Retry-After", tt.retry)
			}
			j.server.Faults.Set(func(*http.Request) standin.Action {
				return standin.Action{Status: tt.status, Body: tt.body, Header: h}
			})
			for doing, do := range map[string]func() error{
				"Pull":   func() error { _, err := j.Pull(t.Context(), 1, 0); return err },
				"Settle": func() error { return j.Settle(t.Context(), []string{"x"}, nil) },
			} {
				now := time.Now()
				err := do()
				if provision.ClassOf(err) != tt.want || !strings.Contains(provision.NextAction(err), tt.next) {
					t.Errorf("%s = %v (%s; %s), want %s; %s", doing, err, provision.ClassOf(err), provision.NextAction(err), tt.want, tt.next)
				}
				var l *cloudflare.LimitError
				switch {
				case errors.As(err, &l) != (tt.limit != 0):
					t.Errorf("%s = %#v, a limit of %s is wanted", doing, err, tt.limit)
				case tt.limit == none && !l.NotBefore().IsZero():
					t.Errorf("%s: not before %s, which was not told", doing, l.NotBefore())
				case tt.limit > 0 && (l.NotBefore().Sub(now)-tt.limit).Abs() > 5*time.Second:
					t.Errorf("%s: not before %s, want %s after now", doing, l.NotBefore().Sub(now), tt.limit)
				}
				if err != nil && (strings.ContainsAny(err.Error(), "\n<") || strings.Contains(err.Error(), token) || len(err.Error()) > 500) {
					t.Errorf("error is not a line for people: %v", err)
				}
			}
			if n := len(j.server.Calls()); n != 2 {
				t.Errorf("%d requests, want one each: %v", n, j.server.Calls())
			}
		})
	}
}

// A queue that nothing can be pulled from is told before anything is.
func TestConsumer(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{NoPull: true})
	_, err := j.Consumer(t.Context())
	if provision.ClassOf(err) != provision.NotFound || !strings.Contains(provision.NextAction(err), "wrangler queues consumer http add") {
		t.Errorf("Consumer = %v (%s), want not_found and how to add one", err, provision.NextAction(err))
	}
	j.server.Faults.Set(func(*http.Request) standin.Action {
		return standin.Action{Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":[
			{"type":"worker","dead_letter_queue":"x"},{"type":"http_pull","dead_letter_queue":null,"settings":{"max_retries":0}}]}`}
	})
	want := cloudflare.ConsumerSettings{BatchSize: 5, Visibility: 30 * time.Second}
	if got, err := j.Consumer(t.Context()); err != nil || got != want {
		t.Errorf("Consumer = %+v, %v, want %+v", got, err, want)
	}
}

func TestQueueIDs(t *testing.T) {
	t.Parallel()
	for _, ids := range [][2]string{{"", "1"}, {"1", ""}, {"1", "../../zones"}, {"a/b", "1"}} {
		q := &cloudflare.Queue{BaseURL: "http://127.0.0.1:1", Token: token, AccountID: ids[0], ID: ids[1]}
		if _, err := q.Pull(t.Context(), 1, 0); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("Pull with ids %q = %v, want invalid", ids, err)
		}
	}
}

// A lost answer is no refusal: what it was about has been done.
func TestQueueLostAnswer(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	first := j.send("", "1")
	lose := func(*http.Request) standin.Action { return standin.Action{Lose: true} }
	j.server.Faults.Set(lose)
	if b, err := j.Pull(t.Context(), 1, time.Minute); provision.ClassOf(err) != provision.Busy || len(b.Messages) > 0 {
		t.Errorf("Pull = %+v, %v, want busy", b, err)
	}
	if state, _ := j.server.Fate("jobs", first); state != sandbox.Leased {
		t.Errorf("the message is %s, want leased", state)
	}
	j.server.Faults.Set(nil)
	second := j.send("", "2")
	lease := j.pull(1)[0].Lease
	j.server.Faults.Set(lose)
	if err := j.Settle(t.Context(), []string{lease}, nil); provision.ClassOf(err) != provision.Busy {
		t.Errorf("Settle = %v, want busy", err)
	}
	if state, _ := j.server.Fate("jobs", second); state != sandbox.Acked {
		t.Errorf("the message is %s, want acked", state)
	}
	j.server.Faults.Set(nil)
	if j.settle([]string{lease}); len(j.ignored) != 1 {
		t.Errorf("ignored %q, want the lease that is gone", j.ignored)
	}
}

func TestQueueNoAnswer(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	j.Timeout = 50 * time.Millisecond
	j.server.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Delay: time.Minute} })
	if _, err := j.Pull(t.Context(), 1, 0); provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("Pull from a server that hangs = %v, want busy", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	j.Timeout = time.Minute
	j.server.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Before: cancel, Delay: time.Minute} })
	if _, err := j.Pull(ctx, 1, 0); provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Pull, cancelled = %v, want cancelled", err)
	}
}

// Several goroutines share one Queue from its first request on.
func TestQueueConcurrent(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	const n = 40
	for range n {
		j.send("text", "x")
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				b, err := j.Pull(t.Context(), 1, time.Minute)
				if err == nil && len(b.Messages) == 1 {
					err = j.Settle(t.Context(), []string{b.Messages[0].Lease}, nil)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c := j.server.Counts("jobs"); c.Acked != n {
		t.Errorf("%+v, want %d acknowledged", c, n)
	}
}

// The largest batch that the vendor may send can be read.
func TestLargestBatch(t *testing.T) {
	t.Parallel()
	j := startQueue(t, sandbox.Options{}, sandbox.QueueOptions{})
	body := base64.StdEncoding.EncodeToString([]byte(`"` + strings.Repeat("x", 127_998) + `"`))
	list := make([]map[string]any, 100)
	for i := range list {
		list[i] = map[string]any{"id": fmt.Sprint(i), "lease_id": strings.Repeat("l", 300), "body": body, "metadata": map[string]string{"CF-Content-Type": "json"}}
	}
	answer, err := json.Marshal(map[string]any{"success": true, "result": map[string]any{"messages": list}})
	if err != nil {
		t.Fatal(err)
	}
	j.server.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Status: 200, Body: string(answer)} })
	if m := j.pull(100)[99]; len(m.Body) != 128_000 {
		t.Errorf("a body of %d bytes, %v", len(m.Body), m.Unreadable)
	}
}
