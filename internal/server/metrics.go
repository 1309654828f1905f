package server

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pregoi/provision-tenant/internal/store"
)

// metrics are what Prometheus is told, in a registry of the server's own. No label tells of
// a tenant: whoever reaches the listener may read them.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	enqueues  *prometheus.CounterVec
	checkouts *prometheus.CounterVec
	triggers  *prometheus.CounterVec
	sweeps    *prometheus.CounterVec
	limited   prometheus.Counter

	up, oldest           prometheus.Gauge
	jobs, tenants, nodes *prometheus.GaugeVec

	mu      sync.Mutex
	counted time.Time // when the gauges were set
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "controlplane_" + name, Help: help}, []string{label})
		m.registry.MustRegister(c)
		return c
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "controlplane_" + name, Help: help}, []string{"status"})
		m.registry.MustRegister(g)
		return g
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "controlplane_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "controlplane_request_duration_seconds", Help: "Requests, by route and status.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "status"})
	m.limited = prometheus.NewCounter(prometheus.CounterOpts{Name: "controlplane_rate_limited_total", Help: "Orders that were refused for their rate."})
	m.enqueues = counter("enqueues_total", "Orders, by outcome: accepted, replayed, or the class of the refusal.", "outcome")
	m.checkouts = counter("checkouts_total", "Events of Stripe, by outcome.", "outcome")
	m.triggers = counter("triggers_total", "Tries to start a run, by outcome.", "outcome")
	m.sweeps = counter("sweeps_total", "Looks at jobs that are overdue, by outcome.", "outcome")
	m.up = gauge("store_up", "Whether the database could be counted at this scrape.")
	m.oldest = gauge("oldest_pending_seconds", "Age of the oldest Pending job; 0 for none.")
	m.jobs = gauges("jobs", "Jobs, by status.")
	m.tenants = gauges("tenants", "Tenants, by status.")
	m.nodes = gauges("nodes", "Nodes, by status.")
	m.registry.MustRegister(m.requests, m.limited, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observe counts a request. pattern is the route's; empty where there is none.
func (m *metrics) observe(pattern string, status int, took time.Duration) {
	if pattern == "" {
		pattern = "none"
	}
	m.requests.WithLabelValues(pattern, strconv.Itoa(status)).Observe(took.Seconds())
}

// count sets the gauges from the database, which is asked at most once a second.
func (m *metrics) count(ctx context.Context, s *Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := s.now()
	if now.Sub(m.counted).Abs() < time.Second { // a clock may be set back
		return
	}
	m.counted = now
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	c, err := s.Store.Counts(ctx)
	m.up.Set(1)
	if err != nil { // what is not known is not told
		s.Log.WarnContext(ctx, "count for metrics", slog.Any("error", err))
		m.up.Set(0)
		c = store.Counts{}
	}
	set(m.jobs, c.Jobs)
	set(m.tenants, c.Tenants)
	set(m.nodes, c.Nodes)
	m.oldest.Set(0)
	if !c.Oldest.IsZero() {
		m.oldest.Set(now.Sub(c.Oldest).Seconds())
	}
}

func set[S ~string](g *prometheus.GaugeVec, counts map[S]int) {
	g.Reset()
	for status, n := range counts {
		g.WithLabelValues(string(status)).Set(float64(n))
	}
}

// exposition is the answer to a scrape, in Prometheus's text format.
type exposition huma.StreamResponse

func (s *Server) scrape(context.Context, *struct{}) (*exposition, error) {
	return &exposition{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		s.metrics.count(r.Context(), s)
		promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	}}, nil
}

func (*exposition) document(op *huma.Operation, api huma.API) {
	op.Responses["200"] = response[string](api, "text/plain", "Prometheus's text format")
}
