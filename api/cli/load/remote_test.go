package load

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// served is a ledger that is served over HTTP, with somebody who may call.
func served(t *testing.T) (url string, setup Setup) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	config := ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger"), Logger: logger}
	if _, err := ledger.Create(t.Context(), config, "load.medledger.example"); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Enter(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	patient, err := s.NewPatient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r, err := l.Originate(t.Context(), ledger.Command{Actor: s.Clinician}, Origination(patient), bytes.NewReader(make([]byte, contentSize)))
		if err != nil {
			t.Fatal(err)
		}
		s.Add(r.Event.Subject)
	}
	setup = Setup{Patients: s.Patients(), Records: s.Records()}
	for to, who := range map[*string]events.ID{
		&setup.Clinician: s.Clinician, &setup.Clerk: s.Clerk, &setup.Administrator: s.Administrator,
	} {
		if _, *to, err = s.IssueToken(t.Context(), ledger.Command{Actor: s.Administrator}, who, events.At(time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	vkey, err := os.ReadFile(ledger.FolderAt(config.Dir).VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	setup.VerifierKey = string(vkey)
	h, err := api.New(api.Config{Ledger: l, Logger: logger, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL, setup
}

// TestJobs does each job, and some that cannot be done.
func TestJobs(t *testing.T) {
	url, setup := served(t)
	in, lines := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveJobs(t.Context(), url, in, out) }()
	say, hear := json.NewEncoder(lines), json.NewDecoder(answers)
	if err := say.Encode(setup); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		job  Job
		ok   bool
		then any // said while the job goes on
	}{
		"appends":        {Job{Act: "append", Workers: 4, Calls: 300}, true, nil},
		"for a while":    {Job{Act: "append", Workers: 2, Lasting: 50 * time.Millisecond}, true, nil},
		"until a line":   {Job{Act: "read", Workers: 8, Stopped: true}, true, struct{}{}},
		"upload":         {Job{Act: "append", Workers: 2, Upload: 4 << 20}, true, nil},
		"batches":        {Job{Act: "batch", Workers: 2, Calls: 3}, true, nil},
		"reads":          {Job{Act: "read", Workers: 4, Calls: 40}, true, nil},
		"destructions":   {Job{Act: "destroy", Workers: 1, Calls: 5}, true, nil},
		"unknown":        {Job{Act: "dance", Workers: 1, Calls: 1}, false, nil},
		"nobody":         {Job{Act: "read", Workers: 0, Calls: 1}, false, nil},
		"without an end": {Job{Act: "read", Workers: 1}, false, nil},
	} {
		if err := say.Encode(c.job); err != nil {
			t.Fatal(err)
		}
		if c.then != nil {
			time.Sleep(50 * time.Millisecond)
			if err := say.Encode(c.then); err != nil {
				t.Fatal(err)
			}
		}
		var s Summary
		if err := hear.Decode(&s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if (s.Error == "") != c.ok {
			t.Errorf("%s: %+v", name, s)
		}
		if c.ok && (s.Calls == 0 || s.Calls < c.job.Calls || s.Elapsed <= 0 || s.Max < s.P50 || s.Sent == 0 || s.Received == 0) {
			t.Errorf("%s: %+v", name, s)
		}
		if name == "batches" && s.Verified == 0 {
			t.Error("of 300 receipts none was verified")
		}
	}
	if err := lines.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("at the end of the input: %v", err)
	}
}

// TestLieDetected has the generator hold a receipt against another log's key: if it
// could not fail, the figures would say nothing of proofs.
func TestLieDetected(t *testing.T) {
	url, setup := served(t)
	_, other := served(t)
	setup.VerifierKey = other.VerifierKey
	raw, err := json.Marshal(setup)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	job := `{"act":"append","workers":1,"calls":1000}`
	if err := serveJobs(t.Context(), url, strings.NewReader(string(raw)+"\n"+job+"\n"), &out); err != nil {
		t.Fatal(err)
	}
	var s Summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil || !strings.Contains(s.Error, "the receipt of event") {
		t.Errorf("%s, %v", out.Bytes(), err)
	}
}
