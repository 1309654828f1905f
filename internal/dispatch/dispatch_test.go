package dispatch_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// lost is an error after which a run may exist.
type lost struct{ error }

func (lost) Ambiguous() bool { return true }
func (l lost) Unwrap() error { return l.error }

func TestDispatch(t *testing.T) {
	busy := provision.Errorf(provision.Busy, "busy")
	for _, test := range []struct {
		name        string
		inputs, err error
		run         dispatch.Run
		want        dispatch.Outcome
		class       provision.Class
		sends       int
		text        string
	}{
		{"with id", nil, nil, dispatch.Run{ID: 7, URL: "u", HTMLURL: "h"}, dispatch.Accepted, "", 1, ""},
		{"without id", nil, nil, dispatch.Run{}, dispatch.AcceptedWithoutID, "", 1, ""},
		{"inputs refused", provision.Errorf(provision.Invalid, "wrong"), nil, dispatch.Run{}, dispatch.Rejected, provision.Invalid, 0, "job j: wrong"},
		{"file not to be had", busy, nil, dispatch.Run{}, dispatch.Limited, provision.Busy, 0, "job j: busy"},
		{"refused", nil, provision.Errorf(provision.Denied, "no"), dispatch.Run{}, dispatch.Rejected, provision.Denied, 1, "job j: no"},
		{"limited", nil, busy, dispatch.Run{}, dispatch.Limited, provision.Busy, 1, "job j: busy"},
		{"lost", nil, lost{busy}, dispatch.Run{}, dispatch.Ambiguous, provision.Busy, 1, "job j: busy"},
		{"cancelled and lost", nil, lost{context.Canceled}, dispatch.Run{}, dispatch.Ambiguous, provision.Cancelled, 1, "job j: context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := map[string]any{"flag": true}
			sends := 0
			d := dispatch.Dispatcher{
				Inputs: func(_ context.Context, job provision.Job) (map[string]any, error) {
					if job.ID != "j" {
						t.Errorf("inputs of job %q", job.ID)
					}
					return want, test.inputs
				},
				Start: func(_ context.Context, inputs map[string]any) (dispatch.Run, error) {
					sends++
					if diff := cmp.Diff(want, inputs); diff != "" {
						t.Errorf("inputs (-want +got):\n%s", diff)
					}
					return test.run, test.err
				},
			}
			run, err := d.Dispatch(t.Context(), provision.Job{ID: "j"})
			if run != test.run || sends != test.sends {
				t.Errorf("Dispatch = %+v after %d requests, want %+v after %d", run, sends, test.run, test.sends)
			}
			if got := dispatch.OutcomeOf(run, err); got != test.want {
				t.Errorf("outcome = %s, want %s", got, test.want)
			}
			if provision.ClassOf(err) != test.class || err != nil && err.Error() != test.text {
				t.Errorf("err = %v of class %q, want %s of %q", err, provision.ClassOf(err), test.text, test.class)
			}
		})
	}
}

// Without a ledger there is a pace all the same.
func TestDispatchPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.Ledger, b.Pace = nil, &dispatch.Pace{}
		b.start = func(context.Context) (dispatch.Run, error) {
			switch b.starts {
			case 1:
				return dispatch.Run{}, differently{provision.Errorf(provision.Busy, "400")}
			case 3:
				return dispatch.Run{}, limited{provision.Errorf(provision.Busy, "slow down"), time.Now().Add(time.Hour)}
			}
			return run7, nil
		}
		began := time.Now()
		for i, want := range []dispatch.Outcome{dispatch.Accepted, dispatch.Limited, dispatch.Limited} {
			run, err := b.Dispatch(t.Context(), job)
			if got := dispatch.OutcomeOf(run, err); got != want {
				t.Errorf("%d: %s, %v", i, got, err)
			}
		}
		b.asked(t, 3, 0)
		if time.Since(began) < 2*time.Second {
			t.Errorf("three after %s", time.Since(began))
		}
	})
}

func TestStatus(t *testing.T) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, test := range []struct {
		record dispatch.Record
		want   string
	}{
		{dispatch.Record{JobID: "j", State: dispatch.Done, Hash: "h", Version: 3, Sends: 1, FirstAt: at, SentAt: at, Run: dispatch.Run{ID: 7, URL: "u", HTMLURL: "h"}},
			`{"job_id":"j","attempt":1,"state":"accepted","run_id":7,"run_url":"u","html_url":"h","sends":1,"sent_at":"2026-03-14T15:09:26Z"}`},
		{dispatch.Record{JobID: "j", State: dispatch.Lost, Until: at, Sends: 2, Reason: "502", Class: provision.Busy, Next: "wait"},
			`{"job_id":"j","attempt":1,"state":"lost","sends":2,"until":"2026-03-14T15:09:26Z","reason":"502","error_class":"busy","next_action":"wait"}`},
	} {
		got, err := json.Marshal(test.record.Status())
		if err != nil || string(got) != test.want {
			t.Errorf("%s, %v\nwant %s", got, err, test.want)
		}
	}
}
