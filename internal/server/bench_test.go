package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// BenchmarkCompute asks for placements over HTTP, on 16 connections, with 10,000 nodes in
// three regions. The load is generated in the same process.
func BenchmarkCompute(b *testing.B) {
	c := config(b)
	fill(b, c.Store, 10_000)
	addr, stop := serve(b, c)
	defer func() {
		if _, err := stop(); err != nil {
			b.Error(err)
		}
	}()
	const body = `{"plan_tier":"basic","region":"sg"}`
	request := fmt.Sprintf("POST /internal/placement/compute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
	var mu sync.Mutex
	var times []time.Duration
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 16<<10)
		var mine []time.Duration
		for pb.Next() {
			begun := time.Now()
			if err := ask(conn, r, request); err != nil {
				b.Error(err)
				return
			}
			mine = append(mine, time.Since(begun))
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, mine...)
	})
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

func ask(w io.Writer, r *bufio.Reader, request string) error {
	if _, err := io.WriteString(w, request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK || n < 1000 {
		return fmt.Errorf("%d, %d bytes", resp.StatusCode, n)
	}
	return err
}

// fill registers n nodes, with every load, many at once: the store commits them together.
func fill(b *testing.B, s store.Store, n int) {
	b.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for i := range next {
				id := fmt.Sprintf("n%05d", i)
				_, err := s.PutNode(b.Context(), provision.Node{ID: id, Region: placement.Regions()[i%3], Host: "203.0.113.7",
					Status: provision.NodeActive, Provider: "hetzner", ProviderServerID: id, CreatedAt: time.Now()}, "")
				if err == nil {
					err = s.PutMetrics(b.Context(), store.Metrics{NodeID: id, MemoryPct: new(float64(i % 100)), TenantCount: i % 45, At: time.Now()})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}
