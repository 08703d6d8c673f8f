// Package control is how a program on the ledger's own machine talks to the server
// that has the ledger open: to take a backup, to give an administrator a token when
// the last one was lost, or to see where its time and its memory go. Whoever may read
// the data folder may do this; nobody else reaches it.
//
// A server writes the file control.json, mode 0600, into the data folder, with a
// loopback address and a secret of 32 random bytes, both new at every start, and
// removes it when it stops:
//
//	{"address":"127.0.0.1:40123","secret":"…"}
//
// A file that a crash left names an address where nobody answers, or somebody who
// does not know the secret; either is taken for no server. Both sides prove that they
// know it, neither sends it:
//
//	Medledger-Nonce    32 random bytes of the caller
//	Medledger-Caller   HMAC-SHA256(secret, "caller" || nonce)
//	Medledger-Server   HMAC-SHA256(secret, "server" || nonce), in the answer
//
// all in base64url. Without the last, another user of the machine who has taken the
// port of a server that crashed could say that a backup was taken. The protocol is
// JSON over HTTP and belongs to this version of the program.
package control

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/vault"
)

const (
	fileName = "control.json"
	// maxMessage bounds what either side reads.
	maxMessage = 64 << 10
)

// ErrNoServer says that no server has the ledger open.
var ErrNoServer = errors.New("no server has the ledger open")

// Ledger is what is controlled.
type Ledger interface {
	Backup(ctx context.Context, p backup.Plan, full bool) (*backup.Report, error)
	BackupStatus(ctx context.Context, p backup.Plan) (*backup.Status, error)
	VaultStats(ctx context.Context) (vault.Stats, error)
	IssueOnTheMachine(ctx context.Context, administrator events.ID, lifetime time.Duration) (*ledger.Result, string, error)
}

// meeting is the content of the file.
type meeting struct {
	Address string `json:"address"`
	Secret  string `json:"secret"`
}

// Server is the server's end.
type Server struct {
	file     string
	listener net.Listener
	server   *http.Server
	served   chan struct{}
	profiler profiler
}

// Serve begins to take commands for the ledger whose data folder is dir. The plan is of
// the backups of those who ask for one without saying where. The caller closes the server
// before the ledger.
func Serve(dir string, l Ledger, p backup.Plan) (*Server, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("making the secret of the control file: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for commands of this machine: %w", err)
	}
	m := meeting{listener.Addr().String(), base64.RawURLEncoding.EncodeToString(secret)}
	raw, err := json.Marshal(m)
	if err == nil {
		err = disk.WriteFile(disk.OS{}, filepath.Join(dir, fileName), append(raw, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing the control file: %w", err), listener.Close())
	}
	s := &Server{file: filepath.Join(dir, fileName), listener: listener, served: make(chan struct{})}
	s.server = &http.Server{Handler: handler(l, p, &s.profiler, m.Secret), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(listener) // ends with Close
	}()
	return s, nil
}

// Close takes no more commands, cuts off those that run, and removes the file.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.served
	err = errors.Join(err, s.profiler.stop())
	if removeErr := os.Remove(s.file); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// The commands, in and out.
type (
	backupRequest struct {
		Plan backup.Plan `json:"plan"` // with absolute folders; the server's own if there is none
		Full bool        `json:"full"`
	}
	tokenRequest struct {
		Administrator events.ID     `json:"administrator,omitzero"`
		Lifetime      time.Duration `json:"lifetime"`
	}
	// Issued is a token that was given to an administrator.
	Issued struct {
		Secret string    `json:"secret"`
		Index  uint64    `json:"index"` // of the event that says so
		Event  events.ID `json:"event"`
	}
	failure struct {
		Error string `json:"error"`
	}
)

func handler(l Ledger, plan backup.Plan, p *profiler, secret string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", command(func(ctx context.Context, in backupRequest) (*backup.Report, error) {
		return l.Backup(ctx, in.Plan.Or(plan), in.Full)
	}))
	mux.HandleFunc("POST /backup/status", command(func(ctx context.Context, in backupRequest) (*backup.Status, error) {
		return l.BackupStatus(ctx, in.Plan.Or(plan))
	}))
	mux.HandleFunc("POST /token", command(func(ctx context.Context, in tokenRequest) (*Issued, error) {
		return issue(ctx, l, in.Administrator, in.Lifetime)
	}))
	mux.HandleFunc("POST /vault-stats", command(func(ctx context.Context, _ struct{}) (vault.Stats, error) {
		return l.VaultStats(ctx)
	}))
	mux.HandleFunc("POST /profile/begin", command(p.begin))
	mux.HandleFunc("POST /profile/end", command(p.end))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := r.Header.Get(nonceHeader)
		if !proves(r.Header, callerHeader, secret, nonce) {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		w.Header().Set(serverHeader, prove(serverHeader, secret, nonce))
		mux.ServeHTTP(w, r)
	})
}

// The headers in which the sides prove that they know the secret.
const (
	nonceHeader  = "Medledger-Nonce"
	callerHeader = "Medledger-Caller"
	serverHeader = "Medledger-Server"
)

// prove makes the value of a header that proves that its side knows the secret.
func prove(header, secret, nonce string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.ToLower(strings.TrimPrefix(header, "Medledger-"))))
	mac.Write([]byte(nonce))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func proves(h http.Header, header, secret, nonce string) bool {
	return len(nonce) == base64.RawURLEncoding.EncodedLen(nonceSize) &&
		hmac.Equal([]byte(h.Get(header)), []byte(prove(header, secret, nonce)))
}

const nonceSize = 32

// newNonce returns a nonce that was never used.
func newNonce() string {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(nonce)
}

func issue(ctx context.Context, l Ledger, administrator events.ID, lifetime time.Duration) (*Issued, error) {
	result, token, err := l.IssueOnTheMachine(ctx, administrator, lifetime)
	if err != nil {
		return nil, err
	}
	return &Issued{Secret: token, Index: result.Index, Event: result.Event.ID}, nil
}

// command makes an HTTP handler of a command. Its errors are for an operator of
// this machine, so they are passed on as they are.
func command[In, Out any](do func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage))
		d.DisallowUnknownFields()
		var answer any
		err := d.Decode(&in)
		if err == nil {
			answer, err = do(r.Context(), in)
		}
		if err != nil {
			w.WriteHeader(http.StatusConflict)
			answer = failure{err.Error()}
		}
		_ = json.NewEncoder(w).Encode(answer) // an error means that the caller has gone
	}
}

// Backup has the server that has the ledger open take a backup. What the plan does not
// say the server's own says.
func Backup(ctx context.Context, dir string, p backup.Plan, full bool) (*backup.Report, error) {
	p, err := absolute(p)
	if err != nil {
		return nil, err
	}
	var r backup.Report
	return &r, call(ctx, dir, "backup", backupRequest{p, full}, &r)
}

// BackupStatus has the server say what could be restored.
func BackupStatus(ctx context.Context, dir string, p backup.Plan) (*backup.Status, error) {
	p, err := absolute(p)
	if err != nil {
		return nil, err
	}
	var s backup.Status
	return &s, call(ctx, dir, "backup/status", backupRequest{Plan: p}, &s)
}

// absolute names the folders of a plan so that the server finds them.
func absolute(p backup.Plan) (backup.Plan, error) {
	for _, folder := range []*string{&p.Data, &p.Keys} {
		if *folder == "" {
			continue
		}
		var err error
		if *folder, err = filepath.Abs(*folder); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Token has the server give an administrator a token; zero is the first one.
func Token(ctx context.Context, dir string, administrator events.ID, lifetime time.Duration) (*Issued, error) {
	var issued Issued
	return &issued, call(ctx, dir, "token", tokenRequest{administrator, lifetime}, &issued)
}

// VaultStats asks the server how the vault's keys are doing.
func VaultStats(ctx context.Context, dir string) (s vault.Stats, err error) {
	return s, call(ctx, dir, "vault-stats", struct{}{}, &s)
}

// call runs a command in the server. The error wraps ErrNoServer if there is none.
func call(ctx context.Context, dir, name string, in, out any) error {
	raw, err := os.ReadFile(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoServer
	}
	if err != nil {
		return fmt.Errorf("reading the control file: %w", err)
	}
	var m meeting
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%s is damaged: %w", fileName, ErrNoServer)
	}
	host, _, err := net.SplitHostPort(m.Address)
	if err != nil || host != "127.0.0.1" {
		return fmt.Errorf("%s names another machine: %w", fileName, ErrNoServer)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.Address+"/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	nonce := newNonce()
	request.Header.Set(nonceHeader, nonce)
	request.Header.Set(callerHeader, prove(callerHeader, m.Secret, nonce))
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	defer answer.Body.Close()
	if !proves(answer.Header, serverHeader, m.Secret, nonce) {
		return fmt.Errorf("somebody else answers where the control file points: %w", ErrNoServer)
	}
	return read(answer, out)
}

func read(answer *http.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return json.Unmarshal(raw, out)
	case http.StatusConflict:
		var f failure
		if err := json.Unmarshal(raw, &f); err == nil && f.Error != "" {
			return errors.New(f.Error)
		}
	}
	return fmt.Errorf("the server answered %s", answer.Status)
}
