package medverify_test

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/state"
)

// service is a ledger with its state log, and how to serve it.
type service struct {
	*audittest.History
	folder, vkey string
}

func newService(t *testing.T) *service {
	h := audittest.New("a")
	h.StateStory()
	s := &service{History: h, folder: t.TempDir()}
	s.vkey = write(t, filepath.Join(s.folder, "log.vkey"), []byte(h.VKey+"\n"))
	return s
}

func (s *service) honest() []state.Leaf { return s.States(s.Seen(), audittest.Sizes) }

// serve serves both logs over HTTP.
func (s *service) serve(t *testing.T, log, states audittest.Files) string {
	files := log.Below("log")
	maps.Copy(files, states.Below("state"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if _, err := w.Write(data); err != nil {
			t.Errorf("answering: %v", err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// dir writes a data folder.
func (s *service) dir(t *testing.T, states audittest.Files, leaves []state.Leaf) string {
	files := s.Folder(10)
	if len(states) > 0 {
		files.PutState(states, leaves)
	}
	dir := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), data)
	}
	return dir
}

// export writes an export; "" if there can be none of that.
func (s *service) export(t *testing.T, log, states audittest.Files) string {
	var b bytes.Buffer
	err := archive.Write(t.Context(), &b, log, states)
	if errors.Is(err, archive.ErrSource) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "export.tar"), b.Bytes())
}

func TestAuditVerified(t *testing.T) {
	s := newService(t)
	leaves := s.honest()
	states := s.ServeState(leaves)
	kept := write(t, filepath.Join(s.folder, "kept"), slices.Concat(
		audittest.Serve(s.Statements[:13], s.LogSigner)["checkpoint"], s.ServeState(leaves[:5])["checkpoint"]))
	url := s.serve(t, s.Serve(), states)
	for _, source := range [][]string{
		{"--dir", s.dir(t, states, leaves)}, {"--export", s.export(t, s.Serve(), states)},
		{"--url", url}, {"--url", url + "/"}, {"--url", url + "/log"}, {"--url", url + "/log/"},
	} {
		o := run(t, still(), append([]string{"audit", "--vkey", s.vkey, "--checkpoint", kept}, source...)...)
		o.want(t, medverify.Verified, "VERIFIED", "events 26, all signed, all included", "kept the log extends the kept checkpoint of 13 events",
			"state log 12 leaves, each as the events make it state root "+leaves[11].Map.String(),
			"the state log extends the kept checkpoint of 5 leaves")
		if o.errout != "" {
			t.Errorf("%v: stderr: %s", source, o.errout)
		}
	}
	// What verifies the log alone takes the same files.
	run(t, still(), "log", "--vkey", s.vkey, "--checkpoint", kept, "--url", url+"/log").
		want(t, medverify.Verified, "the log extends the kept checkpoint of 13 events")
}

// TestAuditRaces audits a service that goes on between two readings.
func TestAuditRaces(t *testing.T) {
	s := newService(t)
	leaves := s.honest()
	url := s.serve(t, audittest.Serve(s.Statements[:23], s.LogSigner), s.ServeState(leaves))
	run(t, still(), "audit", "--vkey", s.vkey, "--url", url).
		want(t, medverify.Verified, "state log 10 leaves, each as the events make it 2 more for a newer log, left aside")
}

// TestAuditKeeps keeps the checkpoints of both logs, and then serves others.
func TestAuditKeeps(t *testing.T) {
	s := newService(t)
	kept := filepath.Join(s.folder, "kept")
	leaves := s.honest()
	run(t, still(), "audit", "--vkey", s.vkey, "--url", s.serve(t, s.Serve(), s.ServeState(leaves)), "--keep", kept).
		want(t, medverify.Verified, "checkpoint kept in")
	data, err := os.ReadFile(kept)
	if want := slices.Concat(s.Serve()["checkpoint"], s.ServeState(leaves)["checkpoint"]); err != nil || !bytes.Equal(data, want) {
		t.Fatalf("kept %q, error %v", data, err)
	}
	run(t, still(), "audit", "--vkey", s.vkey, "--url", s.serve(t, s.Serve(), s.ServeState(leaves)), "--checkpoint", kept, "--keep", kept).
		want(t, medverify.Verified, "the log extends the kept checkpoint of 26 events", "the state log extends the kept checkpoint of 12 leaves")
	others := s.States(s.Seen(), []int{5, 26})
	run(t, still(), "audit", "--vkey", s.vkey, "--url", s.serve(t, s.Serve(), s.ServeState(others)), "--checkpoint", kept, "--keep", kept).
		want(t, medverify.FoundFalse, "state-kept-larger at leaf 2 of the state log", "the state log has only 2 left")
}

// TestAuditLies tells every lie about the state to the command, wherever it can be
// told.
func TestAuditLies(t *testing.T) {
	for _, l := range audittest.StateLies() {
		t.Run(l.Name, func(t *testing.T) {
			s := newService(t)
			args := []string{"audit", "--vkey", s.vkey}
			if l.Kept != nil {
				kept := write(t, filepath.Join(s.folder, "kept"), slices.Concat(s.Serve()["checkpoint"], l.Kept(s.History)))
				args = append(args, "--checkpoint", kept)
			}
			leaves, states := l.Tell(s.History)
			sources := [][]string{{"--url", s.serve(t, s.Serve(), states)}}
			if file := s.export(t, s.Serve(), states); file != "" {
				sources = append(sources, []string{"--export", file})
			}
			if !l.ServedOnly {
				sources = append(sources, []string{"--dir", s.dir(t, states, leaves)})
			}
			for _, source := range sources {
				o := run(t, still(), append(args, source...)...)
				o.want(t, medverify.FoundFalse, "FOUND FALSE")
				for _, want := range l.Want {
					if code, _, _ := strings.Cut(want, " "); !strings.Contains(o.out, code) {
						t.Errorf("%v does not find %s:\n%s", source, want, o.out)
					}
				}
			}
		})
	}
}

// TestAuditEvidence prints what there is to judge a false map by.
func TestAuditEvidence(t *testing.T) {
	s := newService(t)
	hidden := s.States(slices.Delete(s.Seen(), 11, 12), audittest.Sizes)
	o := run(t, still(), "audit", "--vkey", s.vkey, "--url", s.serve(t, s.Serve(), s.ServeState(hidden)))
	o.want(t, medverify.FoundFalse, "FOUND FALSE: 1 finding", "1. state-root-mismatch at leaf 4 of the state log",
		"the first 13 events give another root of the map than it has", "record "+s.Events[11].Subject.String(),
		"root of the map in the leaf: "+hidden[4].Map.String(), "computed root: "+s.honest()[4].Map.String(),
		"Checked 26 of the 26 events that the checkpoint promises.")
}

// TestAuditOfOldLedger says what to do about a ledger without a state log.
func TestAuditOfOldLedger(t *testing.T) {
	s := newService(t)
	old := &service{audittest.New("a"), s.folder, s.vkey}
	old.Story()
	for _, source := range [][]string{
		{"--dir", old.dir(t, nil, nil)}, {"--export", old.export(t, old.Serve(), audittest.Files{})},
		{"--url", old.serve(t, old.Serve(), nil)},
	} {
		run(t, still(), append([]string{"audit", "--vkey", s.vkey}, source...)...).
			want(t, medverify.CouldNotCheck, "the log announces no state log; 'medledger upgrade' opens one")
	}
}

func TestAuditCouldNotCheck(t *testing.T) {
	s := newService(t)
	states := s.ServeState(s.honest())
	dir := s.dir(t, states, s.honest())
	file := func(name string, parts ...[]byte) string {
		return write(t, filepath.Join(s.folder, name), slices.Concat(parts...))
	}
	signed, stateSigned := s.Serve()["checkpoint"], states["checkpoint"]
	lacking := s.ServeState(s.honest())
	delete(lacking, "tile/0/000.p/12")
	other := audittest.NewOf(audittest.Origin, "other").OpenState()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no source":                    {nil, "name one of --url, --dir and --export"},
		"server lacks a tile":          {[]string{"--url", s.serve(t, s.Serve(), lacking)}, "/state/tile/0/000.p/12: 404 Not Found"},
		"server has nothing":           {[]string{"--url", s.serve(t, nil, nil)}, "is --url the address"},
		"kept of the state log only":   {[]string{"--dir", dir, "--checkpoint", file("a", stateSigned)}, "has no checkpoint of the log"},
		"kept of the log twice":        {[]string{"--dir", dir, "--checkpoint", file("b", signed, signed)}, "more than one checkpoint"},
		"kept of the state log twice":  {[]string{"--dir", dir, "--checkpoint", file("c", signed, stateSigned, stateSigned)}, "more than one checkpoint"},
		"kept of another state log":    {[]string{"--dir", dir, "--checkpoint", file("d", signed, other.ServeState(other.HonestStates())["checkpoint"])}, "the kept checkpoint of the state log is not one that its key signed"},
		"kept is empty":                {[]string{"--dir", dir, "--checkpoint", file("e")}, "has no checkpoint of the log"},
		"kept is followed by anything": {[]string{"--dir", dir, "--checkpoint", file("f", signed, []byte("x"))}, "more than one checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, still(), append([]string{"audit", "--vkey", s.vkey}, c.args...)...).want(t, medverify.CouldNotCheck, c.want)
		})
	}
}
