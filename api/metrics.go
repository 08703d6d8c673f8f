package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/medledger/medledger/ledger"
)

// metrics are what an operator watches, in a registry of their own. Labels have
// few values, all of them the program's own words.
type metrics struct {
	exposition http.Handler
	inFlight   prometheus.Gauge
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec

	refused         *prometheus.CounterVec
	unauthenticated prometheus.Counter
	undelivered     prometheus.Counter
}

func newMetrics(c Config) *metrics {
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "medledger_http_requests_in_flight",
			Help: "HTTP requests that are being answered.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "medledger_http_requests_total",
			Help: "HTTP requests answered, by route (the path's template; none if no route matched) and class of status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "medledger_http_request_duration_seconds",
			Help:    "Time from the end of a request's header to the end of its answer, by route.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5},
		}, []string{"route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "medledger_commands_refused_total",
			Help: "Commands that the access rules refused, by action; each is an event too.",
		}, []string{"action"}),
		unauthenticated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "medledger_unauthenticated_total",
			Help: "Requests without a token that is worth something, where one is needed.",
		}),
		undelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "medledger_undelivered_total",
			Help: "Contents that were released and did not reach their reader whole; each is an event too.",
		}),
	}
	for i := range routes { // a counter that begins at zero shows its first step
		if a := routes[i].action; a != "" {
			m.refused.WithLabelValues(string(a))
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.inFlight, m.requests, m.duration, m.refused, m.unauthenticated, m.undelivered,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(ledgerMetrics(c)...)
	registry.MustRegister(backupMetrics(c.Ledger)...)
	registry.MustRegister(c.Metrics...)
	m.exposition = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		// A collector that fails costs its own metrics only, and is logged.
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      metricsErrors{c.Logger},
	})
	return m
}

// ledgerMetrics are read from the ledger when they are asked for.
func ledgerMetrics(c Config) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_log_size",
			Help: "Events that the newest checkpoint covers.",
		}, func() float64 {
			if published := c.Log.Published(); published != nil {
				return float64(published.Checkpoint.Size)
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_log_checkpoint_timestamp_seconds",
			Help: "When the newest checkpoint was made, in seconds since 1970; 0 if that is not known.",
		}, func() float64 {
			if published := c.Log.Published(); published != nil && !published.Time.IsZero() {
				return float64(published.Time.UnixMilli()) / 1e3
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_ledger_stopped",
			Help: "1 if the ledger stopped itself after a failed write and accepts nothing until it is started again, else 0.",
		}, func() float64 {
			if c.Stopped() != nil {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "medledger_build_info",
			Help:        "Always 1; its labels are the version of the program and of the Go that built it.",
			ConstLabels: prometheus.Labels{"version": c.Version, "goversion": runtime.Version()},
		}, func() float64 { return 1 }),
	}
}

// backupMetrics say whether backups are taken.
func backupMetrics(l *ledger.Ledger) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_backup_last_success_timestamp_seconds",
			Help: "When the last backup that succeeded was begun, in seconds since 1970; 0 if there is none.",
		}, func() float64 {
			if last := l.BackupHealth().LastSuccess; !last.IsZero() {
				return float64(last.Unix())
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "medledger_backup_failures_total",
			Help: "Backups that failed since the server was started.",
		}, func() float64 { return float64(l.BackupHealth().Failures) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_backup_duration_seconds",
			Help: "How long the last backup took that succeeded since the server was started.",
		}, func() float64 { return l.BackupHealth().Took.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_backup_bytes",
			Help: "How long the data side's increment of that backup is.",
		}, func() float64 { return float64(l.BackupHealth().Bytes) }),
	}
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	m.exposition.ServeHTTP(w, r)
	return nil
}

// metricsErrors is promhttp.Logger over slog.
type metricsErrors struct{ logger *slog.Logger }

func (m metricsErrors) Println(v ...any) {
	m.logger.Error("metrics could not be gathered", "error", fmt.Sprint(v...))
}
