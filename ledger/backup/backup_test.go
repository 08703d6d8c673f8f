package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger/custody"
)

// box is custody in memory that gives keys away.
type box struct {
	mu   sync.Mutex
	keys map[string][]byte
	down error
}

func (b *box) Kind() custody.Kind { return custody.File }

func (b *box) Create(_ context.Context, name string) error {
	key := make([]byte, custody.KeySize)
	_, _ = rand.Read(key)
	return b.Import(context.Background(), name, key)
}

func (b *box) Import(_ context.Context, name string, key []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down != nil {
		return b.down
	}
	if b.keys[name] != nil {
		return custody.ErrExists
	}
	b.keys[name] = bytes.Clone(key)
	return custody.CheckName(name)
}

func (b *box) Export(_ context.Context, name string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys[name] == nil {
		return nil, custody.ErrNoKey
	}
	return bytes.Clone(b.keys[name]), nil
}

func (b *box) Seal(_ context.Context, name string, plain, _ []byte) ([]byte, error) {
	key, err := b.Export(context.Background(), name)
	return append(key, plain...), err
}

func (b *box) Open(_ context.Context, name string, sealed, _ []byte) ([]byte, error) {
	key, err := b.Export(context.Background(), name)
	if err != nil {
		return nil, err
	}
	plain, found := bytes.CutPrefix(sealed, key)
	if !found {
		return nil, custody.ErrSealed
	}
	return plain, nil
}

func (b *box) Destroy(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.keys, name)
	return b.down
}

func (b *box) Names(context.Context) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := []string{}
	for name := range b.keys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, b.down
}

func (b *box) Close() error { return nil }

// source is a ledger in memory.
type source struct {
	custody   custody.Custody
	leaves    []string
	state     []string // entries of the state log
	contents  []string // of the vault
	destroyed uint64
	another   bool // the vault is another one than before
	fsys      disk.FS
	trims     int   // how often it was told to trim its register
	trimFails error // what it says to that
}

// registerPath is the source's register: the generations in which something was destroyed.
const registerPath = "register"

func (s *source) registered() (generations []uint64, err error) {
	b, err := disk.ReadFile(s.fsys, registerPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return generations, errors.Join(err, json.Unmarshal(b, &generations))
}

func (s *source) register(generations []uint64) error {
	b, err := json.Marshal(generations)
	return errors.Join(err, disk.WriteFile(s.fsys, registerPath, b, 0o600))
}

// destroy destroys something, which is a generation of the key tree.
func (s *source) destroy() error {
	s.destroyed++
	list, err := s.registered()
	return errors.Join(err, s.register(append(list, s.destroyed+1)))
}

// trim is Config.Trim.
func (s *source) trim(_ context.Context, generation uint64) error {
	s.trims++
	list, err := s.registered()
	if err := errors.Join(err, s.trimFails); err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(list), func(g uint64) bool { return g <= generation })
	if len(left) == len(list) {
		return nil
	}
	return s.register(left)
}

type memoryLog []string

func (l memoryLog) Newest() ([]byte, uint64) {
	return fmt.Appendf(nil, "checkpoint of %d", len(l)), uint64(len(l))
}

func (l memoryLog) Leaves(_ context.Context, first uint64, n int) ([][]byte, error) {
	var list [][]byte
	for _, leaf := range l[first : first+uint64(n)] {
		list = append(list, []byte(leaf))
	}
	return list[:(len(list)+1)/2], nil
}

func (s *source) Logs() (log, state Log) { return memoryLog(s.leaves), memoryLog(s.state) }

func (s *source) Vault(_ context.Context, since json.RawMessage, w io.Writer) (json.RawMessage, error) {
	from := 0
	if since != nil {
		if err := json.Unmarshal(since, &from); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(w, "from %d:", from); err != nil {
		return nil, err
	}
	for _, content := range s.contents[from:] {
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	return json.Marshal(len(s.contents))
}

func (s *source) Follows(json.RawMessage) bool { return !s.another }

func (s *source) Keys(ctx context.Context, w io.Writer, epoch string) (Taken, error) {
	sealed, err := s.custody.Seal(ctx, epoch, fmt.Appendf(nil, "tree of %d", len(s.contents)), nil)
	if err != nil {
		return Taken{}, err
	}
	_, err = w.Write(sealed)
	return Taken{Generation: s.destroyed + 1, Destroyed: s.destroyed}, err
}

func (s *source) Destroyed(context.Context) (uint64, error) { return s.destroyed, nil }

func (s *source) add(n int) {
	for range n {
		s.leaves = append(s.leaves, fmt.Sprintf("leaf %d", len(s.leaves)))
		s.contents = append(s.contents, fmt.Sprintf("content %d;", len(s.contents)))
	}
}

// house is a ledger with its backups, on a file system in memory.
type house struct {
	t        testing.TB
	fsys     *disktest.FS
	now      time.Time
	box      *box
	source   *source
	config   Config
	plan     Plan
	identity []age.Identity
	*Backups
}

const (
	dataDir, keysDir, secretsDir = "data", "keys", "secrets"
	testOrigin                   = "ledger.example/test"
)

func newHouse(t testing.TB) *house {
	t.Helper()
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, fsys: disktest.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), box: &box{keys: map[string][]byte{}}}
	if h.identity, err = ParseIdentities([]byte("# a comment\n" + identity + "\n")); err != nil {
		t.Fatal(err)
	}
	h.source = &source{custody: h.box, fsys: h.fsys}
	h.config = Config{
		Origin: testOrigin, VerifierKey: "vkey", Secret: bytes.Repeat([]byte{7}, 32), Secrets: secretsDir,
		Dies:    func(name string) bool { return strings.HasPrefix(name, "root-") },
		Custody: h.box, Trim: h.source.trim, FS: h.fsys, Clock: func() time.Time { return h.now }, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	}
	h.plan = Plan{Data: dataDir, Keys: keysDir, Recipients: []string{recipient}}
	h.Backups = New(h.config)
	for name, text := range map[string]string{"log.key": "signs", "root-1": "dies", "commands.key": "derives"} {
		h.must(disk.MakeDir(h.fsys, secretsDir, 0o700))
		h.must(disk.WriteFile(h.fsys, filepath.Join(secretsDir, name), []byte(text), 0o600))
	}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) unpack(identity []age.Identity, folder string) {
	h.t.Helper()
	names, err := UnpackSecrets(h.fsys, keysDir, identity, folder, "log.key")
	h.must(err)
	if !slices.Contains(names, "log.key") || !slices.Contains(names, "commands.key") {
		h.t.Errorf("the secrets are %v", names)
	}
}

func (h *house) run() *Report {
	h.t.Helper()
	r, err := h.Run(h.t.Context(), h.source, h.plan, false)
	h.must(err)
	return r
}

// restored is what a chain has.
type restored struct {
	leaves, state []string
	vault         string
}

func (h *house) read() (*restored, error) {
	chain, err := OpenChain(h.fsys, dataDir, h.identity)
	if err != nil {
		return nil, err
	}
	r := &restored{}
	err = chain.Read(h.t.Context(), h.config.Secret, Contents{
		Leaf:      func(b []byte) error { r.leaves = append(r.leaves, string(b)); return nil },
		StateLeaf: func(b []byte) error { r.state = append(r.state, string(b)); return nil },
		Vault: func(from io.Reader) error {
			b, err := io.ReadAll(from)
			_, text, _ := strings.Cut(string(b), ":")
			r.vault += text
			return err
		},
	})
	return r, err
}

func (h *house) check() {
	h.t.Helper()
	r, err := h.read()
	h.must(err)
	if !slices.Equal(r.leaves, h.source.leaves) || !slices.Equal(r.state, h.source.state) || r.vault != strings.Join(h.source.contents, "") {
		h.t.Errorf("read back %d leaves, %d of the state, %d bytes of the vault", len(r.leaves), len(r.state), len(r.vault))
	}
}

// elsewhere is a machine that has the two sides and nothing else.
func (h *house) elsewhere() Config {
	c := h.config
	c.Secrets, c.Custody = "elsewhere", &box{keys: map[string][]byte{}}
	return c
}

// TestRunAndRestore takes backups while things go on, and puts the two sides together on
// another machine.
func TestRunAndRestore(t *testing.T) {
	h := newHouse(t)
	h.source.state = []string{}
	for i, n := range []int{0, 3, 0, 700} {
		h.source.add(n)
		h.source.state = append(h.source.state, fmt.Sprint(n))
		r := h.run()
		if r.Increment != uint64(i+1) || r.Base != 1 || r.Size != uint64(len(h.source.leaves)) || r.Size-r.From != uint64(n) || r.Epoch != 1 {
			t.Errorf("run %d: %+v", i, r)
		}
		h.check()
	}
	c := h.elsewhere()
	h.unpack(h.identity, c.Secrets)
	entries, err := h.fsys.ReadDir(c.Secrets)
	h.must(err)
	if len(entries) != 2 || entries[0].Name() != "commands.key" || entries[1].Name() != "log.key" {
		t.Errorf("the secrets are %v", entries)
	}
	if _, err := UnpackSecrets(h.fsys, keysDir, h.identity, c.Secrets, "log.key"); err == nil {
		t.Error("secrets were written over")
	}
	for range 2 { // interrupted, and again
		k, err := OpenKeySide(c, keysDir)
		h.must(err)
		h.must(k.ImportKeys(t.Context(), h.identity))
		tree, err := k.Tree()
		h.must(err)
		sealed, err := io.ReadAll(tree)
		h.must(errors.Join(err, tree.Close()))
		plain, err := c.Custody.Open(t.Context(), k.Key(), sealed, nil)
		if err != nil || string(plain) != "tree of 703" || string(k.Checkpoint()) != "checkpoint of 703" {
			t.Errorf("the tree is %q, %v", plain, err)
		}
	}
	k, err := OpenKeySide(c, keysDir)
	h.must(err)
	h.must(k.Adopt(t.Context()))
	// The schedule goes on there.
	h.source.custody = c.Custody
	h.source.add(1)
	r, err := New(c).Run(t.Context(), h.source, h.plan, false)
	h.must(err)
	if r.Increment != 5 || r.Base != 1 || r.Epoch != 1 {
		t.Errorf("it goes on with %+v", r)
	}
	h.check()
}

// TestIsAge has age itself decrypt an increment, the secrets and a key.
func TestIsAge(t *testing.T) {
	h := newHouse(t)
	h.source.add(2)
	h.run()
	for name, want := range map[string]string{
		"data/0000000001.age": incrementMagic, "keys/secrets.age": `{"format":1,"origin":"ledger.example/test"`,
		"keys/epoch-0001/key.age": string(h.box.keys["epoch-0001"]),
	} {
		raw, err := disk.ReadFile(h.fsys, filepath.FromSlash(name))
		h.must(err)
		plain, err := age.Decrypt(bytes.NewReader(raw), h.identity...)
		h.must(err)
		text, err := io.ReadAll(plain)
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if bytes.Contains(raw, []byte("leaf")) {
			t.Errorf("%s holds plaintext", name)
		}
	}
}

// TestChains begins new chains: when told to, when a file is missing, when the position
// is lost or altered. What is older than the chain before goes.
func TestChains(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	step := func(name string, full bool, increment, base uint64, left int) {
		t.Helper()
		h.source.add(1)
		r, err := h.Run(t.Context(), h.source, h.plan, full)
		h.must(err)
		numbers, err := dataSide{h.fsys, dataDir}.numbers()
		h.must(err)
		if r.Increment != increment || r.Base != base || len(numbers) != left {
			t.Errorf("%s: increment %d of chain %d, %d files", name, r.Increment, r.Base, len(numbers))
		}
		h.check()
	}
	step("an increment", false, 2, 1, 2)
	step("told to", true, 3, 3, 3)
	step("an increment", false, 4, 3, 4)
	step("told to again", true, 5, 5, 3)
	h.must(h.fsys.Remove("data/0000000005.age"))
	step("the newest is missing", false, 5, 5, 1)
	step("an increment", false, 6, 5, 2)
	h.must(h.fsys.Remove("data/position"))
	step("no position", false, 7, 7, 3)
	h.must(disk.WriteFile(h.fsys, "data/position", []byte("{}\n"), 0o600))
	step("a false position", false, 8, 8, 4)
	// A copy of the position from before is a fork of the files: none of them is lost.
	old, err := disk.ReadFile(h.fsys, "data/position")
	h.must(err)
	step("an increment", false, 9, 8, 5)
	step("an increment", false, 10, 8, 6)
	h.must(disk.WriteFile(h.fsys, "data/position", old, 0o600))
	step("a position from before", false, 11, 11, 4)
	h.source.another = true
	step("another vault", false, 12, 12, 2)
	h.source.another = false
	// What an old ledger would write over newer backups is refused.
	h.source.leaves = h.source.leaves[:3]
	if _, err := h.Run(t.Context(), h.source, h.plan, false); err == nil || !strings.Contains(err.Error(), "older copy") {
		t.Errorf("a ledger with fewer events: %v", err)
	}
}

// TestChainGrowsLong begins a new chain once the old one is twice as long.
func TestChainGrowsLong(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	for h.run().Base == 1 {
		h.source.contents = append(h.source.contents, strings.Repeat("x", 20<<20))
		if len(h.source.contents) > 10 {
			t.Fatal("the chain grows for ever")
		}
	}
	if n := len(h.source.contents); n < 4 {
		t.Errorf("a new chain after %d contents", n)
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t)
	h.source.add(3)
	h.run()
	other := newHouse(t)
	other.fsys, other.config.FS = h.fsys, h.fsys
	other.config.Origin = "other.example/ledger"
	for name, c := range map[string]struct {
		secret byte
		data   string
		keys   string
	}{
		"a data side of another ledger": {7, dataDir, "elsewhere"},
		"a key side of another ledger":  {7, "elsewhere", keysDir},
		"a key side of another secret":  {8, "elsewhere2", keysDir},
		"a folder with something else":  {7, "elsewhere3", secretsDir},
		"a folder with something too":   {7, secretsDir, "elsewhere4"},
	} {
		other.config.Secret = bytes.Repeat([]byte{c.secret}, 32)
		other.plan.Data, other.plan.Keys = c.data, c.keys
		if _, err := New(other.config).Run(t.Context(), other.source, other.plan, false); err == nil {
			t.Errorf("%s was written to", name)
		}
	}
	h.check()
	if _, err := OpenChain(h.fsys, dataDir, other.identity); !errors.Is(err, ErrIdentity) {
		t.Errorf("another identity: %v", err)
	}
	if _, err := UnpackSecrets(h.fsys, keysDir, other.identity, "there", "log.key"); !errors.Is(err, ErrIdentity) {
		t.Errorf("another identity for the secrets: %v", err)
	}
	if _, err := OpenChain(h.fsys, keysDir, h.identity); !errors.Is(err, ErrNone) {
		t.Errorf("a folder without increments: %v", err)
	}
	other.config.Secret = bytes.Repeat([]byte{7}, 32)
	if _, err := OpenKeySide(other.config, keysDir); !errors.Is(err, ErrOther) {
		t.Errorf("a key side of another ledger: %v", err)
	}
	for _, p := range []Plan{
		{Data: "x", Recipients: h.plan.Recipients}, {Data: "x", Keys: "y"}, {Data: "x", Keys: "y", Recipients: []string{"age1x"}},
		{Data: "x", Keys: "y", Recipients: h.plan.Recipients, Every: time.Second},
		{Data: "x", Keys: "y", Recipients: h.plan.Recipients, Epoch: time.Hour},
		{Data: "x", Keys: "y", Recipients: h.plan.Recipients, Keep: 48 * time.Hour},
	} {
		if _, err := h.Run(t.Context(), h.source, p, false); err == nil {
			t.Errorf("plan %+v", p)
		}
	}
}
