package store_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/store"
)

// Ids are in the order of their times, and no two of one time are the same.
func TestNewJobID(t *testing.T) {
	form := regexp.MustCompile("^job_[0-9a-v]{26}$")
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	last := ""
	for _, later := range []time.Duration{0, time.Millisecond, time.Second, time.Hour, 20 * 365 * 24 * time.Hour} {
		a, b := store.NewJobID(now.Add(later)), store.NewJobID(now.Add(later))
		if a == b || a <= last || b <= last || !form.MatchString(a) {
			t.Errorf("after %s the ids are %s and %s, after %s before", later, a, b, last)
		}
		last = max(a, b)
	}
}
