package control_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
)

// fake is a ledger that remembers what it was asked.
type fake struct {
	plan          backup.Plan
	full          bool
	administrator events.ID
	lifetime      time.Duration
	err           error
}

func (f *fake) Backup(_ context.Context, p backup.Plan, full bool) (*backup.Report, error) {
	f.plan, f.full = p, full
	return &backup.Report{Increment: 3, Size: 7}, f.err
}

func (f *fake) BackupStatus(_ context.Context, p backup.Plan) (*backup.Status, error) {
	f.plan = p
	return &backup.Status{Size: 8, Overdue: []string{"late"}}, f.err
}

func (f *fake) VaultStats(context.Context) (vault.Stats, error) {
	return vault.Stats{Generation: 7, Custody: custody.File}, nil
}

func (f *fake) IssueOnTheMachine(_ context.Context, administrator events.ID, lifetime time.Duration) (*ledger.Result, string, error) {
	f.administrator, f.lifetime = administrator, lifetime
	return &ledger.Result{Index: 9}, "mlt_secret", f.err
}

func serve(t *testing.T, f *fake) (dir string, s *control.Server) {
	t.Helper()
	dir = t.TempDir()
	s, err := control.Serve(dir, f, backup.Plan{Data: "/data", Keys: "/keys", Recipients: []string{"age1x"}, Every: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return dir, s
}

func TestCommands(t *testing.T) {
	f := new(fake)
	dir, _ := serve(t, f)
	r, err := control.Backup(t.Context(), dir, backup.Plan{Data: "elsewhere", Keep: time.Minute}, true)
	if err != nil || r.Size != 7 || r.Increment != 3 || !f.full || !filepath.IsAbs(f.plan.Data) || filepath.Base(f.plan.Data) != "elsewhere" {
		t.Errorf("backup by %+v: %+v, %v", f.plan, r, err)
	}
	if p := f.plan; p.Keys != "/keys" || len(p.Recipients) != 1 || p.Every != time.Hour || p.Keep != time.Minute {
		t.Errorf("the server's own plan does not count: %+v", p)
	}
	s, err := control.BackupStatus(t.Context(), dir, backup.Plan{})
	if err != nil || s.Size != 8 || len(s.Overdue) != 1 || f.plan.Data != "/data" {
		t.Errorf("status of %+v: %+v, %v", f.plan, s, err)
	}
	admin := events.MustNewID()
	issued, err := control.Token(t.Context(), dir, admin, time.Hour)
	if err != nil || issued.Secret != "mlt_secret" || issued.Index != 9 || f.administrator != admin || f.lifetime != time.Hour {
		t.Errorf("token for %v: %+v, %v", f.administrator, issued, err)
	}
	f.err = errors.New("the disk is full")
	if _, err := control.Backup(t.Context(), dir, backup.Plan{}, false); err == nil || err.Error() != "the disk is full" {
		t.Errorf("a failed backup: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	dir, s := serve(t, new(fake))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "control.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control file is left: %v", err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"none":           "",
		"damaged":        "{",
		"left by crash":  `{"address":"` + gone.Addr().String() + `","secret":"x"}`,
		"other machine":  `{"address":"192.0.2.1:80","secret":"x"}`,
		"without a port": `{"address":"127.0.0.1","secret":"x"}`,
	} {
		if file != "" {
			if err := os.WriteFile(filepath.Join(dir, "control.json"), []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := control.Token(t.Context(), dir, events.ID{}, time.Hour); !errors.Is(err, control.ErrNoServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStrangers: whoever finds the port but cannot read the file gets nothing.
func TestStrangers(t *testing.T) {
	f := new(fake)
	dir, _ := serve(t, f)
	info, err := os.Stat(filepath.Join(dir, "control.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the control file has mode %v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "control.json"))
	if err != nil {
		t.Fatal(err)
	}
	var meeting struct{ Address, Secret string }
	if err := json.Unmarshal(raw, &meeting); err != nil || len(meeting.Secret) != 43 {
		t.Fatalf("%s: %v", raw, err)
	}
	nonce := strings.Repeat("A", 43)
	mac := func(secret, text string) string {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(text))
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	for name, headers := range map[string]map[string]string{
		"nothing":            {},
		"the secret itself":  {"Authorization": "Bearer " + meeting.Secret, "Medledger-Nonce": nonce, "Medledger-Caller": meeting.Secret},
		"another secret":     {"Medledger-Nonce": nonce, "Medledger-Caller": mac(nonce, "caller"+nonce)},
		"the server's proof": {"Medledger-Nonce": nonce, "Medledger-Caller": mac(meeting.Secret, "server"+nonce)},
		"no nonce":           {"Medledger-Caller": mac(meeting.Secret, "caller")},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+meeting.Address+"/token", strings.NewReader(`{"lifetime":1}`))
		if err != nil {
			t.Fatal(err)
		}
		for header, value := range headers {
			request.Header.Set(header, value)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden || f.lifetime != 0 {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
	// A server that took the port of a dead one does not know the secret.
	if err := os.WriteFile(filepath.Join(dir, "control.json"), []byte(`{"address":"`+meeting.Address+`","secret":"old"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Token(t.Context(), dir, events.ID{}, time.Hour); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("with an old secret: %v", err)
	}
}

// TestImpostor: who took the port of a server that crashed cannot answer for it,
// whatever they say.
func TestImpostor(t *testing.T) {
	const secret = "of the server that crashed"
	for name, answer := range map[string]http.HandlerFunc{
		"a success": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"size":7}`)) },
		"a failure": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"error":"run this instead"}`))
		},
		"the caller's own proof": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Medledger-Server", r.Header.Get("Medledger-Caller"))
			_, _ = w.Write([]byte(`{"size":7}`))
		},
	} {
		var heard strings.Builder
		impostor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.Write(&heard)
			answer(w, r)
		}))
		dir := t.TempDir()
		file := `{"address":"` + impostor.Listener.Addr().String() + `","secret":"` + secret + `"}`
		if err := os.WriteFile(filepath.Join(dir, "control.json"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := control.Backup(t.Context(), dir, backup.Plan{}, false); !errors.Is(err, control.ErrNoServer) {
			t.Errorf("%s: %v", name, err)
		}
		impostor.Close()
		if text := heard.String(); text == "" || strings.Contains(text, secret) {
			t.Errorf("%s: the impostor heard %q", name, text)
		}
	}
}
