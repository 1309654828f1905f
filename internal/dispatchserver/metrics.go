package dispatchserver

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// Metrics are a dispatcher's numbers for Prometheus, in a registry of their own. Make them
// with [NewMetrics].
type Metrics struct {
	registry     *prometheus.Registry
	dispatches   *prometheus.CounterVec
	github       *prometheus.CounterVec
	http         *prometheus.CounterVec
	ledgerErrors prometheus.Counter
}

// NewMetrics returns the numbers of a dispatcher of that version: limits says how GitHub's
// limits stand, and queue how the queue does, nil where there is none.
func NewMetrics(version string, limits func() dispatch.PaceState, queue func() consumer.Stats) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dispatcher", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		dispatches:   counter("dispatches_total", "Dispatched messages, by what became of them.", "outcome"),
		github:       counter("github_requests_total", "Requests to GitHub, by their kind and what came of them.", "request", "result"),
		http:         counter("http_requests_total", "Requests that were answered, by route and status.", "route", "status"),
		ledgerErrors: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "dispatcher", Name: "ledger_errors_total", Help: "Uses of the ledger that failed."}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "dispatcher", Name: "build_info", Help: "1, by the version of the program."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	for _, o := range []dispatch.Outcome{dispatch.Accepted, dispatch.AcceptedWithoutID, dispatch.Rejected, dispatch.Limited, dispatch.Ambiguous} {
		m.dispatches.WithLabelValues(string(o))
	}
	m.registry.MustRegister(m.dispatches, m.github, m.http, m.ledgerErrors, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), paceOf(limits))
	if queue != nil {
		m.registry.MustRegister(queueOf(queue))
	}
	return m
}

// Handler answers the numbers.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second})
}

// Dispatched counts a message by what became of it; "recorded" is for one that the ledger
// knew.
func (m *Metrics) Dispatched(outcome string) { m.dispatches.WithLabelValues(outcome).Inc() }

// Requested counts a request to GitHub: read, start or find; and ok, or the class of its error.
func (m *Metrics) Requested(request, result string) { m.github.WithLabelValues(request, result).Inc() }

// LedgerFailed counts a failed use of the ledger.
func (m *Metrics) LedgerFailed() { m.ledgerErrors.Inc() }

func (m *Metrics) served(route, status string) { m.http.WithLabelValues(route, status).Inc() }

// numbers is a collector of numbers that somebody else keeps: all of one moment.
type numbers[T any] struct {
	read func() T
	list []number[T]
}

// A number is one of them.
type number[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(T) float64
	more []string // values of its labels
}

func (n numbers[T]) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(n, c) }

func (n numbers[T]) Collect(c chan<- prometheus.Metric) {
	now := n.read()
	for _, one := range n.list {
		c <- prometheus.MustNewConstMetric(one.desc, one.kind, one.of(now), one.more...)
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dispatcher_"+name, help, labels, nil)
}

func paceOf(read func() dispatch.PaceState) prometheus.Collector {
	type state = dispatch.PaceState
	stamp := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMilli()) / 1000
	}
	gauge := func(name, help string, of func(state) float64) number[state] {
		return number[state]{desc(name, help), prometheus.GaugeValue, of, nil}
	}
	return numbers[state]{read, []number[state]{
		gauge("limits_quiet_until_seconds", "Until when GitHub wants no request, since 1970; 0 for none.", func(s state) float64 { return stamp(s.QuietUntil) }),
		gauge("limits_next_write_seconds", "When the next run may be asked for, since 1970.", func(s state) float64 { return stamp(s.NextWrite) }),
		gauge("limits_writes_last_minute", "Runs asked for in the last minute, by all who share the ledger.", func(s state) float64 { return float64(s.LastMinute) }),
		gauge("limits_writes_last_hour", "Runs asked for in the last hour, by all who share the ledger.", func(s state) float64 { return float64(s.LastHour) }),
		gauge("limits_waiting", "Messages of this process that wait for their turn.", func(s state) float64 { return float64(s.Waiting) }),
		{desc("limits_answers_total", "Answers of GitHub that were limits."), prometheus.CounterValue, func(s state) float64 { return float64(s.Limited) }, nil},
	}}
}

func queueOf(read func() consumer.Stats) prometheus.Collector {
	type stats = consumer.Stats
	count := func(name, help string, of func(stats) int) number[stats] {
		return number[stats]{desc(name, help), prometheus.CounterValue, func(s stats) float64 { return float64(of(s)) }, nil}
	}
	retried := desc("queue_retried_total", "Messages given back to the queue, by reason.", "reason")
	retry := func(reason string, of func(stats) int) number[stats] {
		return number[stats]{retried, prometheus.CounterValue, func(s stats) float64 { return float64(of(s)) }, []string{reason}}
	}
	gauge := func(name, help string, of func(stats) int) number[stats] {
		return number[stats]{desc(name, help), prometheus.GaugeValue, func(s stats) float64 { return float64(of(s)) }, nil}
	}
	return numbers[stats]{read, []number[stats]{
		gauge("queue_backlog", "Messages in the queue, as it last said.", func(s stats) int { return s.Backlog }),
		gauge("queue_held", "Messages that this process works on.", func(s stats) int { return s.Held }),
		count("queue_pulls_total", "Looks into the queue.", func(s stats) int { return s.Pulls }),
		count("queue_pulled_total", "Messages delivered.", func(s stats) int { return s.Pulled }),
		count("queue_acked_total", "Messages acknowledged because their run is on record.", func(s stats) int { return s.Acked }),
		count("queue_poisoned_total", "Messages that can never become a run.", func(s stats) int { return s.Poisoned }),
		count("queue_spent_total", "Messages given back at what may be their last attempt.", func(s stats) int { return s.Spent }),
		retry("later", func(s stats) int { return s.Later }),
		retry("fault", func(s stats) int { return s.Faulted }),
		retry("error", func(s stats) int { return s.Failed }),
		retry("released", func(s stats) int { return s.Released }),
		count("queue_errors_total", "Requests to the queue that failed.", func(s stats) int { return s.QueueErrors }),
	}}
}
