package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/verifier/state"
)

// hashOf is a hash of its own for every number.
func hashOf(n int) (h tlog.Hash) {
	binary.BigEndian.PutUint64(h[:], uint64(n))
	return h
}

// TestStoredHistories goes on with histories as they were stored, from lengths whose
// frontiers fit into the space that leaf has for them and from others.
func TestStoredHistories(t *testing.T) {
	record := events.MustNewID()
	var whole, stored state.History
	for n := range 1100 {
		effect := state.Any
		if n == 900 {
			effect = state.Destroys
		}
		whole.Add(uint64(3*n), hashOf(n), effect)
		stored.Add(uint64(3*n), hashOf(n), effect)
		raw := encode(nil, record, &stored)
		found, again, err := decode(raw, nil)
		if err != nil || found != record {
			t.Fatalf("after %d events: %v, %v", n+1, found, err)
		}
		key, value, err := leaf(raw)
		if err != nil || key != state.Key(record) || !bytes.Equal(value, whole.Summary().Marshal()) {
			t.Fatalf("after %d events the leaf is %x, %v", n+1, value, err)
		}
		stored = again
	}
	if stored.Violations == 0 {
		t.Error("events after the end of a life are no violations")
	}
}

func TestDecodeRefuses(t *testing.T) {
	var h state.History
	for n := range 3 {
		h.Add(uint64(n), hashOf(n), state.Any)
	}
	good := encode(nil, events.MustNewID(), &h)
	phase := len(good) - 2*tlog.HashSize - 1
	for name, raw := range map[string][]byte{
		"nothing":           nil,
		"an id":             good[:16],
		"no phase":          good[:phase],
		"a hash too few":    good[:len(good)-tlog.HashSize],
		"half a hash":       good[:len(good)-1],
		"a hash too many":   append(bytes.Clone(good), make([]byte, tlog.HashSize)...),
		"no events":         append(append(bytes.Clone(good[:16]), 0), good[17:]...),
		"an unknown phase":  append(append(bytes.Clone(good[:phase]), 9), good[phase+1:]...),
		"a number too long": append(bytes.Clone(good[:16]), bytes.Repeat([]byte{0xff}, 64)...),
	} {
		if _, _, err := decode(raw, nil); !errors.Is(err, errStored) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var h state.History
	for n := range 5 {
		h.Add(uint64(n), hashOf(n), state.Any)
		f.Add(encode(nil, events.ID{byte(n)}, &h))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		record, h, err := decode(raw, nil)
		if err != nil {
			return
		}
		again, back, err := decode(encode(nil, record, &h), nil)
		if err != nil || again != record || back.Summary() != h.Summary() || !slices.Equal(back.Frontier, h.Frontier) {
			t.Errorf("%x is %v %+v, and then %v %+v, %v", raw, record, h, again, back, err)
		}
	})
}

const leavesName = "/leaves"

func leafOf(n int) state.Leaf {
	return state.Leaf{Size: uint64(n + 1), Root: hashOf(n), Map: hashOf(-n)}
}

// TestLeafFile appends beyond the room that the file is made with, and reads it again.
func TestLeafFile(t *testing.T) {
	fsys := disktest.New()
	l, err := openLeaves(fsys, leavesName, 0)
	if err != nil {
		t.Fatal(err)
	}
	const n = growth + 3
	for i := range n {
		if err := l.append(leafOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	for _, covered := range []uint64{0, 1, growth, n} {
		l, err := openLeaves(fsys, leavesName, covered)
		if err != nil {
			t.Fatal(err)
		}
		if l.n.Load() != n || l.last != leafOf(n-1) {
			t.Errorf("from leaf %d on there are %d, the last is %+v", covered, l.n.Load(), l.last)
		}
		if got, err := l.leaf(t.Context(), growth); err != nil || got != leafOf(growth) {
			t.Errorf("leaf %d is %+v, %v", growth, got, err)
		}
		if _, err := l.leaf(t.Context(), n); !errors.Is(err, ErrLost) {
			t.Errorf("a leaf beyond the last: %v", err)
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeafFileFaults has every call fail, and the machine crash afterwards: the leaves
// that were acknowledged are there, at most the next one is too, and it goes on.
func TestLeafFileFaults(t *testing.T) {
	const n = 4
	for _, effect := range disktest.Effects {
		for call := 1; ; call++ {
			fsys := disktest.New()
			fsys.FailCall(call, effect)
			acknowledged := appendLeaves(fsys, n)
			if !fsys.Failed() {
				break
			}
			name := fmt.Sprintf("%s, call %d (%s)", effect, call, fsys.Failure())
			fsys.FailNone()
			fsys.Crash(disktest.LoseAll, nil)
			l, err := openLeaves(fsys, leavesName, uint64(acknowledged))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			there := int(l.n.Load())
			if there != acknowledged && there != acknowledged+1 || there > 0 && l.last != leafOf(there-1) {
				t.Errorf("%s: %d leaves of %d, the last is %+v", name, there, acknowledged, l.last)
			}
			if err := errors.Join(l.append(leafOf(there)), l.close()); err != nil {
				t.Errorf("%s: going on: %v", name, err)
			}
		}
	}
}

// appendLeaves returns how many of n leaves were acknowledged before the first error.
func appendLeaves(fsys *disktest.FS, n int) int {
	l, err := openLeaves(fsys, leavesName, 0)
	if err != nil {
		return 0
	}
	for i := range n {
		if err := l.append(leafOf(i)); err != nil {
			return i
		}
	}
	return n
}
