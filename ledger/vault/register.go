package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/medledger/medledger/events/store/disk"
)

// ErrRegister says that the register of what was destroyed is damaged, or none.
var ErrRegister = errors.New("the register of destroyed keys is damaged; take a backup of keys, and move it away: what was destroyed before that backup is not in it")

// ErrRegisterFull says that the register has no room for another destruction.
var ErrRegisterFull = errors.New("the register of destroyed keys is full, and until it has room nothing is destroyed: it drops what only retired epochs of the backups needed. Take backups, if none are taken, and wait until the oldest epoch is retired; 'medledger backup status' says when")

const (
	registerMagic = "MLVREG\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"
	// registerHead is the size of an entry's head. Like that of the register's header
	// and of entries it is a multiple of 16, which divides a disk's sector.
	registerHead = 48
	// maxRegistered is how many slots one entry has at most.
	maxRegistered = 1 << 16
	// maxRegister bounds a register in bytes: some 30 million destructions at best, and
	// 4 million of one record each.
	maxRegister = 256 << 20
)

// Destroyed is a slot whose key was destroyed by the change to a generation: a key
// tree of that generation, or a later one, has it no more.
type Destroyed struct {
	Vault      [16]byte // the id of the vault that destroyed it
	Generation uint64
	Slot       int64
	// Inherited says that the vault that was restored to be this one had given the
	// slot out: it is the same in backups of both.
	Inherited bool
}

// register is the file to which destroyed slots are appended. A restoration kills
// again what it says was destroyed after the key tree that is restored. A nil one
// does nothing.
//
// A register is read as a whole once, and again if somebody else has touched the file
// since: an append then costs the same however long it is.
type register struct {
	fsys  disk.FS
	path  string
	limit int64 // maxRegister, less in tests
	mu    sync.Mutex
	// known is the file as it was left after its entries were verified, nil if they
	// are to be read again. It ends with the last entry.
	known fs.FileInfo
	// trimmed is the generation up to which it was found or made to have no entries.
	trimmed uint64
}

func newRegister(fsys disk.FS, path string) *register {
	if path == "" {
		return nil
	}
	return &register{fsys: fsys, path: path, limit: maxRegister}
}

// verify reads an existing register, so that the first destruction need not. A
// damaged one stops no vault from being opened: the append says what is wrong.
func (r *register) verify() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := r.fsys.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	end, err := r.prepare()
	if err == nil && end == info.Size() {
		r.known = info
	}
	return err
}

// registered is an entry: slots that a vault has destroyed at once, and the first one
// that it has given out itself.
type registered struct {
	vault      vaultID
	generation uint64
	own        slot
	slots      []slot
}

// append appends an entry, of at most maxRegistered slots, durably. It first cuts off
// what a crash left of an earlier append. Crash: none of it, all of it, or a torn entry.
func (r *register) append(e registered) (err error) {
	if r == nil || len(e.slots) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("registering destroyed keys in %s: %w", r.path, err)
		}
	}()
	end, err := r.end()
	if err != nil {
		return err
	}
	b := e.append(nil)
	if end+int64(len(b)) > r.limit {
		return fmt.Errorf("%d bytes of at most %d: %w", end, r.limit, ErrRegisterFull)
	}
	r.known, r.trimmed = nil, min(r.trimmed, e.generation-1)
	f, err := r.fsys.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(end); err == nil {
		_, err = f.WriteAt(b, end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// The entry is durable. If this fails, the next append reads everything.
	if info, err := r.fsys.Stat(r.path); err == nil && info.Size() == end+int64(len(b)) {
		r.known = info
	}
	return nil
}

// end returns where the entries end: that of the file if nobody has touched it since
// it was verified.
func (r *register) end() (int64, error) {
	if r.known != nil {
		info, err := r.fsys.Stat(r.path)
		if err == nil && info.Size() == r.known.Size() && info.ModTime().Equal(r.known.ModTime()) {
			return info.Size(), nil
		}
	}
	return r.prepare()
}

// prepare makes the file if it is missing, and returns where its entries end.
func (r *register) prepare() (end int64, err error) {
	b, err := readRegisterFile(r.fsys, r.path)
	if errors.Is(err, fs.ErrNotExist) {
		// Crash: no register, or an empty one.
		b = []byte(registerMagic)
		err = disk.WriteFile(r.fsys, r.path, b, 0o600)
	}
	if err != nil {
		return 0, err
	}
	// The name may not be durable yet: whoever wrote the file may have ended before.
	if err := r.fsys.SyncDir(filepath.Dir(r.path)); err != nil {
		return 0, err
	}
	return parseRegister(b, func(registered) {})
}

// append appends
//
//	vault (16) || generation (8) || own (8) || count (4) || zeros (8) ||
//	CRC-32C of these 44 bytes (4) ||
//	count slots (8 each) || zeros, to a multiple of 16 bytes with what follows ||
//	CRC-32C of slots and zeros (4)
func (e registered) append(b []byte) []byte {
	at := len(b)
	b = append(b, e.vault[:]...)
	b = binary.BigEndian.AppendUint64(b, e.generation)
	b = binary.BigEndian.AppendUint64(b, uint64(e.own))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.slots)))
	b = append(b, make([]byte, 8)...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	at = len(b)
	for _, s := range e.slots {
		b = binary.BigEndian.AppendUint64(b, uint64(s))
	}
	b = append(b, make([]byte, registerPadding(len(e.slots)))...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func registerPadding(count int) int { return 12 - 8*(count%2) }

func readRegisterFile(fsys disk.FS, path string) ([]byte, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	// Earlier programs wrote one entry beyond the limit.
	const most = maxRegister + registerHead + 8*maxRegistered + 16
	if info.Size() > most {
		return nil, fmt.Errorf("%d bytes, at most %d are read: %w", info.Size(), most, ErrRegister)
	}
	return disk.ReadFile(fsys, path)
}

// ReadRegister returns what a register says was destroyed, in the order in which it
// was, some of it twice. A torn entry at the end is what a crash leaves of a
// destruction that was not complete: it is left out. No register is fs.ErrNotExist.
func ReadRegister(fsys disk.FS, path string) ([]Destroyed, error) {
	b, err := readRegisterFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("reading the register of destroyed keys: %w", err)
	}
	var list []Destroyed
	_, err = parseRegister(b, func(e registered) {
		for _, s := range e.slots {
			list = append(list, Destroyed{e.vault, e.generation, int64(s), s < e.own})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading the register of destroyed keys %s: %w", path, err)
	}
	return list, nil
}

// parseRegister visits the entries of a register and returns where they end.
func parseRegister(b []byte, visit func(registered)) (end int64, err error) {
	if len(b) < len(registerMagic) || string(b[:len(registerMagic)]) != registerMagic {
		return 0, fmt.Errorf("it begins with something else: %w", ErrRegister)
	}
	for at := len(registerMagic); ; {
		e, size, err := parseRegistered(b[at:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return int64(at), nil
		}
		if err != nil {
			return 0, fmt.Errorf("entry at byte %d: %w", at, err)
		}
		visit(e)
		at += size
	}
}

// parseRegistered reads one entry, and answers io.ErrUnexpectedEOF if there is none,
// or one that is torn: cut, or the last one and not whole, so that a crash can have
// left it. A sector that was not written is zeros.
func parseRegistered(b []byte) (e registered, size int, err error) {
	if len(b) < registerHead {
		return e, 0, io.ErrUnexpectedEOF
	}
	head := b[:registerHead]
	count := binary.BigEndian.Uint32(head[32:])
	if crc32.Checksum(head[:44], castagnoli) != binary.BigEndian.Uint32(head[44:]) {
		// Sectors end where blocks of 16 bytes do.
		if isZero(head[:16]) || isZero(head[16:32]) || isZero(head[32:]) {
			return e, 0, io.ErrUnexpectedEOF
		}
		return e, 0, ErrRegister
	}
	e = registered{vault: vaultID(head), generation: binary.BigEndian.Uint64(head[16:]), own: slot(binary.BigEndian.Uint64(head[24:]))}
	if count == 0 || count > maxRegistered || e.generation == 0 || e.own < 0 || !isZero(head[36:44]) {
		return e, 0, ErrRegister
	}
	n := int(count)
	size = registerHead + 8*n + registerPadding(n) + 4
	if size > len(b) {
		return e, 0, io.ErrUnexpectedEOF
	}
	body := b[registerHead : size-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[size-4:]) {
		if size == len(b) {
			return e, 0, io.ErrUnexpectedEOF
		}
		return e, 0, ErrRegister
	}
	for ; n > 0; n-- {
		s := slot(binary.BigEndian.Uint64(body))
		if s <= 0 {
			return e, 0, ErrRegister
		}
		e.slots, body = append(e.slots, s), body[8:]
	}
	if !isZero(body) {
		return e, 0, ErrRegister
	}
	return e, size, nil
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// trim drops the entries up to a generation. If there are none it writes nothing, and
// once it knows that it reads nothing.
func (r *register) trim(generation uint64) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if generation <= r.trimmed {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("dropping entries of the register of destroyed keys %s: %w", r.path, err)
			return
		}
		r.trimmed = generation
	}()
	b, err := readRegisterFile(r.fsys, r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := []byte(registerMagic)
	end, err := parseRegister(b, func(e registered) {
		if e.generation > generation {
			left = e.append(left)
		}
	})
	if err != nil || int64(len(left)) == end {
		return err
	}
	r.known = nil
	// Crash before: the register as it was, and perhaps a temporary file, which the next
	// trim overwrites. Crash after: the shorter one.
	return disk.WriteFile(r.fsys, r.path, left, 0o600)
}

// TrimRegister drops the entries of generations up to one from the register: those
// that no backup of keys reaches any more, because each that there is has that
// generation or a later one, or a key of its epoch that is destroyed.
func (v *Vault) TrimRegister(ctx context.Context, generation uint64) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer v.leave()
	if v.keys.tree.register == nil {
		return nil
	}
	return v.keys.tree.register.trim(generation)
}
