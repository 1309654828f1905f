package controlplane_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

var _ pipeline.Tracer = (*controlplane.Tracer)(nil)

// events is a control plane that takes events, as answer says with the ids of a batch.
type events struct {
	mu     sync.Mutex
	stored []string
	posts  int
	answer func(post int, ids []string) int // 200 when nil
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Events []provision.Event }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var ids []string
	for _, event := range body.Events {
		ids = append(ids, event.ID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posts++
	if e.answer != nil {
		if status := e.answer(e.posts, ids); status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
	}
	e.stored = append(e.stored, ids...)
}

func emit(tr *controlplane.Tracer, from, to int) (ids []string) {
	for i := from; i < to; i++ {
		id := fmt.Sprint("e", i)
		tr.Emit(provision.Event{ID: id})
		ids = append(ids, id)
	}
	return ids
}

func TestTracerKeepsOrder(t *testing.T) {
	t.Parallel()
	s := &events{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a cancelled run still says what it did
	tr := controlplane.NewTracer(ctx, serve(t, s.ServeHTTP))
	want := emit(tr, 0, 200)
	if dropped := tr.Close(t.Context()); len(dropped) != 0 {
		t.Errorf("dropped %v", dropped)
	}
	if diff := cmp.Diff(want, s.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	tr.Emit(provision.Event{ID: "late"})
	if dropped := tr.Close(t.Context()); len(dropped) != 1 || dropped[0].Event.ID != "late" || dropped[0].Err == nil {
		t.Errorf("after Close dropped %v, want the late event", dropped)
	}
}

// The control plane is away for longer than one request tries; nothing is lost.
func TestTracerWaitsForTheControlPlane(t *testing.T) {
	t.Parallel()
	s := &events{answer: func(post int, _ []string) int {
		if post < 12 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}}
	tr := controlplane.NewTracer(t.Context(), serve(t, s.ServeHTTP))
	want := emit(tr, 0, 3)
	if dropped := tr.Close(t.Context()); len(dropped) != 0 {
		t.Errorf("dropped %v", dropped)
	}
	if diff := cmp.Diff(want, s.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A refused event takes no other with it.
func TestTracerDropsWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := &events{answer: func(_ int, ids []string) int {
		if slices.Contains(ids, "e1") {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	}}
	tr := controlplane.NewTracer(t.Context(), serve(t, s.ServeHTTP))
	emit(tr, 0, 3)
	dropped := tr.Close(t.Context())
	if len(dropped) != 1 || dropped[0].Event.ID != "e1" || provision.ClassOf(dropped[0].Err) != provision.Invalid {
		t.Errorf("dropped %v, want e1", dropped)
	}
	if diff := cmp.Diff([]string{"e0", "e2"}, s.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// Emit does not wait, however stuck the control plane is, and Close ends when it must.
func TestTracerNeverBlocks(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	tr := controlplane.NewTracer(t.Context(), c)
	start := time.Now()
	emit(tr, 0, 3000)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Emit waited for %s", took)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	dropped := tr.Close(ctx)
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("Close waited for %s", took)
	}
	if len(dropped) == 0 || len(dropped) > 1024 {
		t.Fatalf("dropped %d events, want some, and a bounded list", len(dropped))
	}
	if err := dropped[0].Err; !strings.Contains(err.Error(), "1024 events wait already") {
		t.Errorf("the first was dropped because %v, want because too many wait", err)
	}
}
