package api

import "net/http"

// healthz says that the process runs and answers. It depends on nothing, so
// that a supervisor does not restart a ledger that stopped itself: it would
// lose the read endpoint too.
func (h *handler) healthz(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	return send(w, r, text, []byte("ok\n"))
}

// readyz says whether the ledger accepts commands.
func (h *handler) readyz(w http.ResponseWriter, r *http.Request) error {
	if h.Stopped() != nil { // its cause was logged when it stopped
		return &problem{
			Status: http.StatusServiceUnavailable,
			Detail: "the ledger has stopped: it accepts nothing until its operator starts it again; the log can still be read",
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return send(w, r, text, []byte("ready\n"))
}
