package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/receipt"
)

// transcript collects what all programs of a test print, and what the service
// answers that is nobody's own data: errors and metrics.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (tr *transcript) Write(b []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.b.Write(b)
}

// Bytes returns a copy of what was collected.
func (tr *transcript) Bytes() []byte {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return bytes.Clone(tr.b.Bytes())
}

// RoundTrip implements http.RoundTripper for clients of the service: error answers
// go to the transcript.
func (tr *transcript) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := transport.RoundTrip(r)
	if err != nil || response.StatusCode < 400 {
		return response, err
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	_, _ = tr.Write(text)
	_ = response.Header.Write(tr)
	response.Body = io.NopCloser(bytes.NewReader(text))
	return response, err
}

var transport = &http.Transport{MaxIdleConnsPerHost: 64}

// served is a running 'medledger serve'.
type served struct {
	t        *testing.T
	tr       *transcript
	dir, url string
	server   *exec.Cmd
	out      *bufio.Reader
	messages bytes.Buffer
	stopped  bool
}

// serve starts the service on a ledger. Unless the test stops it, it is stopped at
// the end, and must stop in good order.
func (tr *transcript) serve(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	s := &served{t: t, tr: tr, dir: dir}
	s.server = exec.Command(filepath.Join(bin, "medledger"), append([]string{"serve", "--dir", dir, "--listen", "127.0.0.1:0"}, args...)...)
	s.server.Stderr = &s.messages
	out, err := s.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop() })
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		t.Fatalf("the server's first line is %q (%v)\n%s", line, err, s.messages.String())
	}
	s.url = url
	return s
}

// stop stops the service with SIGTERM.
func (s *served) stop() {
	if err := s.end(); err != nil {
		s.t.Errorf("server: %v\n%s", err, s.messages.String())
	}
}

// end stops the service with SIGTERM and returns how it ended.
func (s *served) end() error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	if err := s.server.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	rest, _ := io.ReadAll(s.out) // ends with the server
	_, _ = s.tr.Write(rest)
	err := s.server.Wait()
	_, _ = s.tr.Write(s.messages.Bytes())
	return err
}

// metrics reads /metrics into the transcript.
func (s *served) metrics() {
	s.t.Helper()
	response, err := http.Get(s.url + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(s.tr, response.Body); err != nil || n < 1000 {
		s.t.Errorf("%d bytes of metrics, %v", n, err)
	}
}

// actor is somebody with a token.
type actor struct {
	*client.Client
	id events.ID
}

// house is a clinic that a service serves.
type house struct {
	t                           *testing.T
	tr                          *transcript
	dir                         string
	admin, doctor, nurse, clerk actor
	insurer, auditor            actor
	ward                        events.ID
	tokenFile                   string // with the auditor's token
}

// newHouse makes a ledger, serves it, and registers a clinic's people.
func newHouse(t *testing.T, tr *transcript, dir string) (*house, *served) {
	t.Helper()
	tr.must(t, "medledger", "init", "--dir", dir, "--origin", "e2e.example/clinic")
	s := tr.serve(t, dir)
	h := &house{t: t, tr: tr, dir: dir}
	h.register(s)
	h.tokenFile = filepath.Join(t.TempDir(), "auditor.token")
	if err := os.WriteFile(h.tokenFile, []byte(h.auditor.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return h, s
}

// register has the administrator, whose token lies in the data folder, register the
// others.
func (h *house) register(s *served) {
	t := h.t
	t.Helper()
	token, err := os.ReadFile(filepath.Join(h.dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	h.admin = h.holding(s, strings.TrimSpace(string(token)))
	for _, r := range []struct {
		as *actor
		client.Registration
	}{
		{&h.doctor, client.Registration{Role: events.RoleClinician, Department: "Ward"}},
		{&h.nurse, client.Registration{Role: events.RoleNurse, Department: "Ward"}},
		{&h.clerk, client.Registration{Role: events.RoleClerk}},
		{&h.insurer, client.Registration{Role: events.RoleRecipient, Organisation: "Insurance"}},
		{&h.auditor, client.Registration{Role: events.RoleAuditor, Organisation: "Auditors"}},
	} {
		registered, err := h.admin.RegisterActor(t.Context(), r.Registration)
		if err != nil {
			t.Fatal(err)
		}
		*r.as = h.holding(s, registered.Token)
		r.as.id = registered.ID
		if r.as == &h.doctor {
			h.ward = registered.Department
		}
	}
}

func (h *house) holding(s *served, token string) actor {
	return actor{Client: &client.Client{URL: s.url, Token: token, HTTP: &http.Client{Transport: h.tr, Timeout: time.Minute}}}
}

// moved tells everybody where the service is now.
func (h *house) moved(s *served) {
	for _, a := range []*actor{&h.admin, &h.doctor, &h.nurse, &h.clerk, &h.insurer, &h.auditor} {
		a.URL = s.url
	}
}

// patient registers a patient and has the ward care for them.
func (h *house) patient(identifiers ...client.Identifier) (events.ID, error) {
	created, err := h.clerk.RegisterPatient(h.t.Context(), identifiers)
	if err != nil {
		return events.ID{}, err
	}
	_, err = h.clerk.OpenCare(h.t.Context(), created.ID, client.Care{Department: h.ward})
	return created.ID, err
}

// verify checks a receipt of an answer offline.
func (h *house) verify(done client.Done) {
	h.t.Helper()
	r, err := receipt.Parse(done.Receipt)
	if err != nil {
		h.t.Errorf("the receipt of event %d: %v", done.Index, err)
		return
	}
	v, err := receipt.Verify(r, verifierOf(h.t, h.dir))
	if err != nil || v.Index != done.Index || v.Event.ID != done.Event {
		h.t.Errorf("the receipt of event %d: %+v, %v", done.Index, v, err)
	}
}

// keep writes a receipt into a file.
func keep(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "receipt.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// read reads a record as somebody.
func (h *house) read(who actor, record events.ID, version uint32, purpose events.Purpose) ([]byte, error) {
	content, err := who.Content(h.t.Context(), record, version, purpose)
	if err != nil {
		return nil, err
	}
	defer content.Body.Close()
	return io.ReadAll(content.Body)
}
