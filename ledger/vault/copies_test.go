package vault

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// copyFolder copies what is in a folder, for its owner only.
func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hoard is what somebody has who copied everything, and tries whatever he can.
type hoard struct {
	t       *testing.T
	custody custody.Custody
	tops    []func(name string) ([]byte, error) // sealed keys of trees' tops, tried with a key of custody's
	nodes   map[string]hoardedNode              // by what is sealed
	keys    map[[keySize]byte]bool              // that he has got
}

type hoardedNode struct {
	vault  vaultID
	id     nodeID
	fanOut int
}

func newHoard(t *testing.T, c custody.Custody) *hoard {
	return &hoard{t: t, custody: c, nodes: map[string]hoardedNode{}, keys: map[[keySize]byte]bool{}}
}

// database takes the nodes and the sealed top keys of a vault's folder.
func (h *hoard) database(dir string) {
	h.t.Helper()
	db, err := openSQLite(filepath.Join(dir, keysFile), "", 1)
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	id, _, err := readIDs(ctx, db)
	if err != nil {
		h.t.Fatal(err)
	}
	state, err := readState(ctx, db)
	if err != nil {
		h.t.Fatal(err)
	}
	h.top(id, state)
	for _, table := range []string{"nodes", "staged"} {
		err := eachRow(ctx, db, "SELECT id, blob FROM "+table, func(rows *sql.Rows) error {
			var row int64
			var blob []byte
			err := rows.Scan(&row, &blob)
			n, _ := nodeOfRow(row)
			h.nodes[string(blob)] = hoardedNode{id, n, state.fanOut}
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *hoard) top(id vaultID, state treeState) {
	h.tops = append(h.tops, func(name string) ([]byte, error) {
		return h.custody.Open(ctx, name, state.top, id.topContext(state.generation, state.height))
	})
}

// backup takes a backup of keys.
func (h *hoard) backup(keys []byte) {
	h.t.Helper()
	var head entry
	err := readEntries(bytes.NewReader(keys), keysFormat, func(e entry) error {
		if e.kind == entryTree {
			head = e
			head.bytes = bytes.Clone(e.bytes)
			return nil
		}
		h.nodes[string(e.bytes)] = hoardedNode{head.vaults[0], e.node, head.tree.fanOut}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.tops = append(h.tops, func(name string) ([]byte, error) {
		return h.custody.Open(ctx, name, head.bytes, head.vaults[0].epochContext(head.number, head.tree.height, head.tree.epoch))
	})
}

// try opens whatever opens, with every key that comes out of it, until nothing more
// does.
func (h *hoard) try() {
	h.t.Helper()
	names, err := h.custody.Names(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		for _, open := range h.tops {
			if key, err := open(name); err == nil {
				h.keys[[keySize]byte(key)] = true
			}
		}
	}
	for more := true; more; {
		more = false
		for blob, n := range h.nodes {
			for key := range h.keys {
				children, err := unsealNode(n.vault, n.id, &key, []byte(blob), n.fanOut)
				if err != nil {
					continue
				}
				for i := range n.fanOut {
					h.keys[[keySize]byte(children[i*keySize:])] = true
				}
				delete(h.nodes, blob)
				more = true
				break
			}
		}
	}
	delete(h.keys, [keySize]byte{})
}

// carve tries every byte of every file as the beginning of a node on the way to a slot:
// what SQLite has dropped, and the versions of a page in its log, lie there too. It
// returns how many it found, and leaves their keys with the others.
func (h *hoard) carve(id vaultID, state *treeState, s slot, dirs ...string) (found int) {
	h.t.Helper()
	size := state.fanOut*keySize + sealOverhead
	n, _ := state.leaf(s)
	way := []nodeID{n}
	for n.level < state.height-1 {
		n, _ = state.parent(n)
		way = append(way, n)
	}
	for _, n := range slices.Backward(way) { // the keys of one are in the one above
		for _, dir := range dirs {
			for _, b := range everyFile(h.t, dir) {
				for at := 0; at+size <= len(b); at++ {
					if b[at] != sealFormat {
						continue
					}
					for key := range h.keys {
						children, err := unsealNode(id, n, &key, b[at:at+size], state.fanOut)
						if err != nil {
							continue
						}
						found++
						for i := range state.fanOut {
							h.keys[[keySize]byte(children[i*keySize:])] = true
						}
						break
					}
				}
			}
		}
	}
	return found
}

// opens reports whether some key opens the secrets of a version.
func (h *hoard) opens(row versionRow, record events.ID, version uint32) bool {
	for key := range h.keys {
		if s, err := unwrapSecrets(&key, row.secrets, record, version); err == nil {
			s.wipe()
			return true
		}
	}
	return false
}

// estateOfCopies is a vault of which everything is copied before a destruction.
type estateOfCopies struct {
	cfg      Config
	v        *Vault
	ids      []events.ID
	rows     map[events.ID]versionRow
	secrets  map[events.ID][][]byte // of the record: its key, the version's and the salt
	copy     string                 // of the folder
	custody  string                 // of custody
	contents string                 // backup
	keys     []byte                 // backup
}

func newEstateOfCopies(t *testing.T) *estateOfCopies { return newEstateIn(t, newConfig(t)) }

func newEstateIn(t *testing.T, cfg Config) *estateOfCopies {
	e := &estateOfCopies{rows: map[events.ID]versionRow{}, secrets: map[events.ID][][]byte{}, cfg: cfg}
	e.cfg.fanOut, e.cfg.SmallLimit = 4, 500
	e.v = openVault(t, e.cfg)
	for i := range 40 {
		id := events.MustNewID()
		mustPut(t, e.v, id, 1, pattern(200+20*i))
		if i%4 == 0 {
			mustPutDocument(t, e.v, identity(id), docOf(id), termOf(id))
		}
		row, err := e.v.keys.lookup(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		key, err := e.v.keys.tree.key(ctx, row.key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.v.keys.unwrap(ctx, row, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		e.ids, e.rows[id] = append(e.ids, id), row
		e.secrets[id] = [][]byte{key[:], s.key[:], s.salt[:], pattern(200 + 20*i)[:64]}
	}
	return e
}

// copyAll copies the folder while the vault is open, its custody, and backs it up.
func (e *estateOfCopies) copyAll(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	e.copy, e.custody, e.contents = filepath.Join(dir, "copy"), filepath.Join(dir, "image"), filepath.Join(dir, "backup")
	copyFolder(t, e.cfg.Dir, e.copy)
	copyFolder(t, custodyDir(e.cfg), e.custody)
	if err := backUpContents(e.v, e.contents); err != nil {
		t.Fatal(err)
	}
	e.keys = backupKeys(t, e.v, epoch)
}

func backupKeys(t testing.TB, v *Vault, epoch string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.BackupKeys(ctx, &b, epoch); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// everything is a hoard of the copy, the backup, the present folder, and the custody
// as it now is.
func (e *estateOfCopies) everything(t *testing.T) *hoard {
	h := newHoard(t, e.cfg.Custody)
	scratch := filepath.Join(t.TempDir(), "scratch") // for SQLite writes to what it opens
	copyFolder(t, e.copy, scratch)
	h.database(scratch)
	h.database(e.cfg.Dir)
	h.backup(e.keys)
	return h
}

// TestDestroyedIsGoneFromCopies: with a copy of the folder and backups from before the
// destruction, the present folder, and the custody as it is after it, nothing opens
// what was destroyed, and everything else opens. With custody in a folder, an image of
// that from before opens it all the same: that is what is not promised.
func TestDestroyedIsGoneFromCopies(t *testing.T) {
	e := newEstateOfCopies(t)
	dead := e.ids[17]
	e.destroyCopied(t, dead)
	e.judgeFolder(t, dead)
	e.judgeCopy(t, dead)
	e.judgeImage(t, dead)
}

// TestDestroyedIsGoneWithAToken is the same with a real token, behind its helper.
func TestDestroyedIsGoneWithAToken(t *testing.T) {
	cfg := newConfig(t)
	token := softhsm.Start(t)
	if err := token.Create(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	cfg.Custody = token
	e := newEstateIn(t, cfg)
	dead := e.ids[17]
	e.destroyCopied(t, dead)
	e.judgeFolder(t, dead)
	e.judgeCopy(t, dead)
	if err := e.v.Close(); err != nil {
		t.Fatal(err)
	}
	present := openVault(t, e.cfg)
	_, err := present.Get(ctx, dead, 1)
	wantErr(t, err, ErrDestroyed)
}

// destroyCopied copies everything, destroys a record, and tries everything.
func (e *estateOfCopies) destroyCopied(t *testing.T, dead events.ID) {
	t.Helper()
	e.copyAll(t)
	if h := e.everything(t); true {
		h.try()
		if !h.opens(e.rows[dead], dead, 1) || len(h.nodes) > 0 {
			t.Fatalf("before the destruction not everything opens: %d nodes do not", len(h.nodes))
		}
	}
	if _, err := e.v.Destroy(ctx, dead); err != nil {
		t.Fatal(err)
	}
	h := e.everything(t)
	h.try()
	if !h.opens(e.rows[dead], dead, 1) {
		t.Error("the backup of keys does not open with its epoch's key: this test tries too little")
	}
	if err := e.cfg.Custody.Destroy(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	h = e.everything(t)
	h.try()
	tree := e.v.keys.tree
	if h.carve(tree.id, &tree.state, e.rows[dead].key, e.copy, e.cfg.Dir, e.contents) == 0 {
		t.Error("no node is found in the files, not even those of today: this test tries too little")
	}
	if h.opens(e.rows[dead], dead, 1) || h.keys[[keySize]byte(e.secrets[dead][0])] {
		t.Error("the destroyed record opens")
	}
	if len(h.nodes) == 0 {
		t.Error("every old node opens")
	}
	for _, id := range e.ids {
		if id != dead && !h.opens(e.rows[id], id, 1) {
			t.Errorf("record %v does not open any more", id)
		}
	}
}

// judgeFolder looks for the secrets of a destroyed record in every file.
func (e *estateOfCopies) judgeFolder(t *testing.T, dead events.ID) {
	t.Helper()
	for _, dir := range []string{e.cfg.Dir, filepath.Dir(custodyDir(e.cfg)), e.copy, e.contents} {
		files := everyFile(t, dir)
		for i, secret := range e.secrets[dead] {
			if found := where(files, secret); len(found) > 0 {
				t.Errorf("secret %d of the destroyed record is in %v", i, found)
			}
		}
	}
}

// judgeCopy does not open the copy of the folder with the custody as it is, which is
// left as it is.
func (e *estateOfCopies) judgeCopy(t *testing.T, dead events.ID) {
	t.Helper()
	cfg := e.cfg
	cfg.Dir = e.copy
	for range 2 {
		wantRefused(t, cfg, "from before a destruction")
	}
	wantRoots(t, cfg.Custody, 1)
}

// judgeImage opens the copy of the folder with the image of custody that somebody has.
func (e *estateOfCopies) judgeImage(t *testing.T, dead events.ID) {
	t.Helper()
	cfg := e.cfg
	cfg.Dir = e.copy
	// Nor with both: its own root key from an image, beside the present one.
	both := filepath.Join(t.TempDir(), "both")
	copyFolder(t, e.custody, both)
	copyFolder(t, custodyDir(e.cfg), both)
	cfg.Custody = openCustody(t, disk.OS{}, both)
	wantRefused(t, cfg, "it is an old copy")
	wantRoots(t, cfg.Custody, 2)
	cfg.Custody = openCustody(t, disk.OS{}, e.custody)
	cfg.Register = ""
	v := openVault(t, cfg)
	if _, err := read(v, dead, 1); err != nil {
		t.Errorf("the copy with its own custody, which no tree of keys can defend: %v", err)
	}
	if err := e.v.Close(); err != nil {
		t.Fatal(err)
	}
	present := openVault(t, e.cfg)
	_, err := present.Get(ctx, dead, 1)
	wantErr(t, err, ErrDestroyed)
}

// TestOldContentsWithPresentKeys restores the contents of a backup from before a
// destruction: with the keys of after it, and with those of before it, where the
// register tells what to destroy again.
func TestOldContentsWithPresentKeys(t *testing.T) {
	e := newEstateOfCopies(t)
	e.copyAll(t)
	dead, patient := e.ids[5], e.ids[8]
	if _, err := e.v.Destroy(ctx, dead); err != nil {
		t.Fatal(err)
	}
	if _, err := e.v.DestroyPatient(ctx, patient); err != nil {
		t.Fatal(err)
	}
	later := events.MustNewID()
	mustPut(t, e.v, later, 1, pattern(10))
	judge := func(name string, keys []byte, register string, wantDead bool) {
		t.Helper()
		cfg := elsewhere(t, e.cfg)
		cfg.Register = register
		src := Source{Contents: e.contents, Keys: bytes.NewReader(keys)}
		if err := Restore(ctx, cfg, src); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v := openVault(t, cfg)
		for i, id := range e.ids {
			b, err := read(v, id, 1)
			if id == dead && wantDead {
				wantErr(t, err, ErrDestroyed)
			} else if err != nil || !bytes.Equal(b, pattern(200+20*i)) {
				t.Errorf("%s: record %d: %v", name, i, err)
			}
			if i%4 != 0 {
				continue
			}
			_, err = v.Find(ctx, Identity, termOf(id))
			if gone := errors.Is(err, ErrNotFound); gone != (id == patient && wantDead) {
				t.Errorf("%s: the document of patient %d: %v", name, i, err)
			}
		}
		if n := idleKeys(t, v); n != 0 {
			t.Errorf("%s: %d keys that nothing lies under", name, n)
		}
		if keys, err := v.Destroy(ctx, dead); err != nil || keys != 2 {
			t.Errorf("%s: destroyed again: %d keys, %v", name, keys, err)
		}
	}
	judge("keys of after", backupKeys(t, e.v, epoch), "", true)
	judge("keys of before, with the register", e.keys, e.cfg.Register, true)
	judge("keys of before, without the register", e.keys, "", false)
}

// TestDiscardedGoesWithTheNextDestruction: an older copy of a node has the key of what
// was discarded, until something is destroyed, wherever that is.
func TestDiscardedGoesWithTheNextDestruction(t *testing.T) {
	e := newEstateOfCopies(t)
	e.copyAll(t)
	if err := e.cfg.Custody.Destroy(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	discarded := e.ids[30]
	if err := e.v.Discard(ctx, discarded, 1); err != nil {
		t.Fatal(err)
	}
	h := e.everything(t)
	h.try()
	if !h.opens(e.rows[discarded], discarded, 1) {
		t.Error("this test tries too little")
	}
	if _, err := e.v.Destroy(ctx, e.ids[2]); err != nil {
		t.Fatal(err)
	}
	h = e.everything(t)
	h.try()
	if h.opens(e.rows[discarded], discarded, 1) || h.opens(e.rows[e.ids[2]], e.ids[2], 1) {
		t.Error("what was discarded or destroyed opens")
	}
	for _, id := range e.ids {
		if id != discarded && id != e.ids[2] && !h.opens(e.rows[id], id, 1) {
			t.Errorf("record %v does not open any more", id)
		}
	}
	list, err := ReadRegister(disk.OS{}, e.cfg.Register)
	if err != nil || len(list) != 1 || slot(list[0].Slot) != e.rows[e.ids[2]].key {
		t.Errorf("the register has %v, %v", list, err)
	}
}

// TestRestoredEndsTheFormerVault: the first destruction in a restored vault destroys
// the root key of the one that was backed up, for copies of its folder would open with
// it. Other vaults' keys in the custody stay.
func TestRestoredEndsTheFormerVault(t *testing.T) {
	e := newEstateOfCopies(t)
	e.copyAll(t)
	other := newConfig(t)
	other.Custody = e.cfg.Custody
	neighbour := openVault(t, other)
	id := events.MustNewID()
	mustPut(t, neighbour, id, 1, pattern(10))
	if err := e.v.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := e.cfg
	cfg.Dir = filepath.Join(t.TempDir(), "restored")
	if err := Restore(ctx, cfg, Source{Contents: e.contents, Keys: bytes.NewReader(e.keys)}); err != nil {
		t.Fatal(err)
	}
	v := openVault(t, cfg)
	wantRoots(t, cfg.Custody, 3)
	former, err := Open(ctx, e.cfg) // it was only a drill
	if err != nil {
		t.Fatal(err)
	}
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Destroy(ctx, e.ids[0]); err != nil {
		t.Fatal(err)
	}
	wantRoots(t, cfg.Custody, 2)
	wantRefused(t, e.cfg, "not in custody")
	if err := cfg.Custody.Destroy(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	h := e.everything(t)
	h.database(cfg.Dir)
	h.try()
	if h.opens(e.rows[e.ids[0]], e.ids[0], 1) {
		t.Error("what the restored vault destroyed opens with the former one's keys")
	}
	mustRead(t, v, e.ids[1], 1, pattern(220))
	if err := neighbour.Close(); err != nil {
		t.Fatal(err)
	}
	mustRead(t, openVault(t, other), id, 1, pattern(10))
	restored := v.keys.tree
	if slotsOf := fmt.Sprint(restored.own); restored.own < restoredGap {
		t.Errorf("a restored vault gives out slots from %s on", slotsOf)
	}
}
