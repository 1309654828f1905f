package postgres_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/store/postgres"
)

// BenchmarkEnqueue takes orders, through to the disk, of callers at once, which share
// commits, and of one, which cannot; and of as many at three processes.
func BenchmarkEnqueue(b *testing.B) {
	s := postgrestest.Start(b, "fsync=on")
	model := s.Database(b, "")
	if err := open(b, s.Address(model)).Close(); err != nil {
		b.Fatal(err)
	}
	for _, at := range []struct{ processes, callers int }{{1, 1}, {1, 16}, {1, 128}, {3, 48}} {
		b.Run(fmt.Sprintf("processes=%d/callers=%d", at.processes, at.callers), func(b *testing.B) {
			database := s.Database(b, model)
			dbs := make([]*postgres.DB, at.processes)
			for i := range dbs {
				dbs[i] = open(b, s.Address(database))
			}
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range at.callers {
				wg.Go(func() {
					for k := n.Add(1); k <= int64(b.N); k = n.Add(1) {
						if _, err := dbs[i%len(dbs)].Enqueue(b.Context(), keyed(fmt.Sprint("tenant-", k))); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}
