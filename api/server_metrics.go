package api

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the server's own, for Config.Metrics.
func (s *Server) Metrics() []prometheus.Collector { return s.metrics }

func (s *Server) newMetrics() {
	s.admission.rejected = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "medledger_http_requests_rejected_total",
		Help: "HTTP requests answered 429 because the server worked on as many as it takes (max-in-flight). They are in no other metric.",
	})
	s.patience.cut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "medledger_http_requests_stalled_total",
		Help: "HTTP requests given up because the client did not send (direction body) or take (direction answer) the next bytes in time.",
	}, []string{"direction"})
	for _, direction := range []string{fromClient, toClient} {
		s.patience.cut.WithLabelValues(direction) // shown from the start
	}
	s.metrics = []prometheus.Collector{
		s.admission.rejected, s.patience.cut,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_http_connections",
			Help: "Open connections. At max-connections, further clients wait.",
		}, func() float64 { return float64(s.listener.open.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "medledger_tls_certificate_expiry_timestamp_seconds",
			Help: "When the TLS certificate in use ends, in seconds since 1970; 0 without TLS.",
		}, func() float64 {
			if s.config.Certificate == nil {
				return 0
			}
			return float64(s.config.Certificate.NotAfter().Unix())
		}),
	}
}
