package ledgertest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

func refused(t *testing.T, l Ledger, limit int, want ...dispatch.Refusal) {
	t.Helper()
	got, err := l.Refusals(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("refusals (-want +got):\n%s", diff)
	}
}

func refuse(t *testing.T, l Ledger, r dispatch.Refusal) {
	t.Helper()
	if err := l.Refuse(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func refusals(t *testing.T, a, b Ledger) {
	refused(t, a, 10)
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)
	first := dispatch.Refusal{MessageID: "m ' 1", JobID: "job", At: at, Class: provision.Invalid,
		Reason: "it's “no”;\n--\\ 100%", Body: []byte("\x00\xff{\"job_id\":")}
	refuse(t, a, first)
	refused(t, b, 10, first)
	again := first
	again.At, again.Reason = at.Add(time.Hour), "another reason"
	refuse(t, b, again)
	refused(t, a, 10, first)
}

func newest(t *testing.T, a, b Ledger) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	list := make([]dispatch.Refusal, 5)
	for _, i := range []int{3, 0, 4, 2, 1} {
		list[i] = dispatch.Refusal{MessageID: fmt.Sprint(i), At: at.Add(-time.Duration(i) * time.Second), Class: provision.Conflict, Reason: "no", Body: []byte{}}
		refuse(t, a, list[i])
	}
	refused(t, b, 3, list[:3]...)
	refused(t, b, 100, list...)
	refused(t, b, 0)
}

func bounded(t *testing.T, a, b Ledger) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	refuse(t, a, dispatch.Refusal{MessageID: "m", JobID: "\x00job", At: at, Reason: "\xff\x00" + strings.Repeat("x", 9), Body: bytes.Repeat([]byte("é"), dispatch.MaxBody)})
	refused(t, b, 1, dispatch.Refusal{MessageID: "m", JobID: "?job", At: at, Reason: "??" + strings.Repeat("x", 9), Body: bytes.Repeat([]byte("é"), dispatch.MaxBody/2)})
	if err := a.Refuse(t.Context(), dispatch.Refusal{At: at}); err == nil {
		t.Error("a refusal without a message is kept")
	}
}
