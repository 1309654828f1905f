package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pregoi/provision-tenant/internal/store"
)

// BenchmarkEnqueue takes orders of many callers at once, which share commits, and of one,
// which cannot.
func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "test.db"))
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						o := order(fmt.Sprint("tenant-", i))
						o.Key = store.Key{Scope: "caller route", Value: fmt.Sprint("key-", i), Hash: "0123456789abcdef0123456789abcdef"}
						if _, err := db.Enqueue(b.Context(), o); err != nil {
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
