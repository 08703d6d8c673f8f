package tilestore_test

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/integration/storagetest"
	"github.com/google/trillian/storage"
	storagetestonly "github.com/google/trillian/storage/testonly"
	"github.com/google/trillian/types"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/tlog/tilestore"
)

// excluded names the cases of Trillian's suite that our storage does not pass,
// each with the reason. TestExcludedCasesFail holds that the list has no other
// cases than it must; cases that are new in a later Trillian are not on it and
// so are run.
var excluded = map[string]string{
	"AddSequencedLeavesUnordered":       "stages leaves ahead of a gap; the event store appends in order, and a gap is answered with OutOfRange",
	"AddSequencedLeavesWithDuplicates":  "stages leaves around a gap that a repeated LeafIdentityHash makes; identity is index and value here, and a gap is answered with OutOfRange",
	"GetLeavesByRangeFromPreorderedLog": "stages leaves 6 to 19 without leaf 5",
	"GetLeavesByRangeFromLog":           "stages leaves 6 to 19 without leaf 5, in an unordered log",
	"DequeueLeaves":                     "needs an unordered queue (QueueLeaves); the event store orders the leaves",
	"DequeueLeavesTwoBatches":           "needs an unordered queue (QueueLeaves)",
}

func TestMain(m *testing.M) {
	flag.Parse()
	if skip := flag.Lookup("test.skip"); skip.Value.String() == "" && os.Getenv(runExcluded) == "" {
		var names []string
		for name := range excluded {
			names = append(names, name)
		}
		if err := skip.Value.Set("^TestLogStorage$/^(" + strings.Join(names, "|") + ")$"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// runExcluded is the environment variable under which this binary runs the
// excluded cases too.
const runExcluded = "TILESTORE_RUN_EXCLUDED"

func TestLogStorage(t *testing.T) {
	storagetest.RunLogStorageTests(t, func(_ context.Context, t *testing.T) (storage.LogStorage, storage.AdminStorage) {
		return newStorage(t)
	})
}

func TestExcludedCasesFail(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLogStorage$", "-test.v")
	cmd.Env = append(os.Environ(), runExcluded+"=1")
	output, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the whole suite passes; nothing needs to be excluded:\n%s", output)
	}
	failed := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^    --- FAIL: TestLogStorage/(\w+) `).FindAllSubmatch(output, -1) {
		failed[string(match[1])] = true
	}
	for name, reason := range excluded {
		if !failed[name] {
			t.Errorf("%s passes, or is gone, and need not be excluded (%s)", name, reason)
		}
		delete(failed, name)
	}
	for name := range failed {
		t.Errorf("%s fails and is not excluded", name)
	}
}

func TestAdminStorage(t *testing.T) {
	tester := storagetestonly.AdminStorageTester{NewAdminStorage: func() storage.AdminStorage {
		return tilestore.NewAdmin(time.Now, storage.NewTreeID)
	}}
	tester.RunAllTests(t)
}

// memory is a Leaves that keeps everything Trillian hangs on a leaf.
type memory struct {
	mu   sync.Mutex
	list []*trillian.LogLeaf
}

func (m *memory) Len(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.list)), nil
}

func (m *memory) Range(_ context.Context, first uint64, count int) ([]*trillian.LogLeaf, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := uint64(len(m.list))
	var found []*trillian.LogLeaf
	for i := first; i < min(n, first+uint64(count)); i++ {
		found = append(found, proto.Clone(m.list[i]).(*trillian.LogLeaf))
	}
	return found, nil
}

func (m *memory) Append(_ context.Context, _ uint64, leaves []*trillian.LogLeaf) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, leaves...)
	return nil
}

// newStorage returns a storage whose trees are made when they are first used.
func newStorage(t *testing.T) (*tilestore.Storage, *tilestore.Admin) {
	admin := tilestore.NewAdmin(time.Now, storage.NewTreeID)
	return tilestore.NewStorage(admin, func(id int64) (*tilestore.Tree, error) {
		none := func(context.Context, uint64, int) ([]tlog.Hash, error) { return nil, nil }
		tiles := tilestore.NewTiles(disk.OS{}, filepath.Join(t.TempDir(), "log"), none, tilestore.DefaultCacheTiles, slog.New(slog.DiscardHandler))
		return tilestore.NewTree(tilestore.TreeConfig{ID: id, Leaves: &memory{}, Tiles: tiles})
	}), admin
}

// TestAddSequencedLeaves checks the answers that Trillian documents for
// LogStorage.AddSequencedLeaves and its suite does not look at.
func TestAddSequencedLeaves(t *testing.T) {
	s, admin := newStorage(t)
	tree, err := storage.CreateTree(t.Context(), admin, storagetestonly.PreorderedLogTree)
	if err != nil {
		t.Fatal(err)
	}
	root, err := (&types.LogRootV1{}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	err = s.ReadWriteTransaction(t.Context(), tree, func(ctx context.Context, tx storage.LogTreeTX) error {
		return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: root})
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(index int64, value string) *trillian.LogLeaf {
		return &trillian.LogLeaf{LeafIndex: index, LeafValue: []byte(value)}
	}
	type answer struct {
		code  codes.Code
		value string // of the leaf that is returned
	}
	for _, c := range []struct {
		name string
		add  []*trillian.LogLeaf
		want []answer
	}{
		{"first leaves", []*trillian.LogLeaf{leaf(0, "a"), leaf(1, "b")}, []answer{{codes.OK, "a"}, {codes.OK, "b"}}},
		{"the same again", []*trillian.LogLeaf{leaf(0, "a"), leaf(1, "b")}, []answer{{codes.AlreadyExists, "a"}, {codes.AlreadyExists, "b"}}},
		{"an index taken by another", []*trillian.LogLeaf{leaf(0, "x")}, []answer{{codes.FailedPrecondition, "a"}}},
		{"a gap", []*trillian.LogLeaf{leaf(3, "d")}, []answer{{codes.OutOfRange, "d"}}},
		{"a negative index", []*trillian.LogLeaf{leaf(-1, "z")}, []answer{{codes.OutOfRange, "z"}}},
		{"a retry that goes on", []*trillian.LogLeaf{leaf(1, "b"), leaf(2, "c")}, []answer{{codes.AlreadyExists, "b"}, {codes.OK, "c"}}},
		{"a conflict does not stop the rest", []*trillian.LogLeaf{leaf(2, "y"), leaf(3, "d")}, []answer{{codes.FailedPrecondition, "c"}, {codes.OK, "d"}}},
		{"an index twice in one call", []*trillian.LogLeaf{leaf(4, "e"), leaf(4, "e"), leaf(4, "f")}, []answer{{codes.OK, "e"}, {codes.AlreadyExists, "e"}, {codes.FailedPrecondition, "e"}}},
		{"an equal value at another index", []*trillian.LogLeaf{leaf(5, "a")}, []answer{{codes.OK, "a"}}},
	} {
		results, err := s.AddSequencedLeaves(t.Context(), tree, c.add, time.Now())
		if err != nil || len(results) != len(c.want) {
			t.Fatalf("%s: %v, %v", c.name, results, err)
		}
		for i, r := range results {
			if got := (answer{codes.Code(r.Status.Code), string(r.Leaf.LeafValue)}); got != c.want[i] {
				t.Errorf("%s: leaf %d answered with %v, want %v", c.name, i, got, c.want[i])
			}
		}
	}
}
