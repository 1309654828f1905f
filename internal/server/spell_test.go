package server

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// However the nodes change, an answer is spelled as encoding/json does it.
func TestSpelled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, s, now := placement.NewIndex(placement.DefaultThresholds()), new(spelled), time.Now()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				x.Put(placement.Node{ID: fmt.Sprintf(`"candidates":[]%d`, rapid.IntRange(0, 30).Draw(t, "node")), Active: true,
					Region:    rapid.SampledFrom(placement.Regions()).Draw(t, "region"),
					MemoryPct: new(rapid.Float64Range(0, 100).Draw(t, "memory")), MetricsAt: now, Tenants: rapid.IntRange(0, 45).Draw(t, "tenants")})
			}
			limit := rapid.SampledFrom([]int{0, 1, placement.DefaultCandidates}).Draw(t, "limit")
			a := x.Decide(placement.Request{Region: rapid.SampledFrom(placement.Regions()).Draw(t, "asked")}, now, limit).Answer(limit)
			want, err := encode(a)
			if got, e := s.answer(a); err != nil || e != nil || string(got) != string(want) {
				t.Fatalf("%s, %v, want %s, %v", got, e, want, err)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "minutes")) * time.Minute)
		}
	})
}

// BenchmarkSpelled spells the answer that is asked for most, beside encoding/json alone.
func BenchmarkSpelled(b *testing.B) {
	x, s, now := placement.NewIndex(placement.DefaultThresholds()), new(spelled), time.Now()
	for i := range 100 {
		x.Put(placement.Node{ID: fmt.Sprintf("n%05d", i), Region: placement.SG, Active: true, MemoryPct: new(float64(i % 80)), MetricsAt: now})
	}
	a := x.Decide(placement.Request{}, now, placement.DefaultCandidates).Answer(placement.DefaultCandidates)
	for name, spell := range map[string]func(placement.Answer) ([]byte, error){
		"spelled": s.answer,
		"json":    func(a placement.Answer) ([]byte, error) { return encode(a) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := spell(a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
