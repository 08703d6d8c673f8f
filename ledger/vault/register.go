package vault

import (
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
var ErrRegister = errors.New("the register of destroyed keys is damaged; put it back from your copy of the secrets")

const (
	registerMagic = "MLVREG\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"
	// registerAlign divides the size of the header and of every entry, and that of a
	// disk's sector: the head of an entry is written whole, or not at all.
	registerAlign = 16
	// maxRegistered is how many slots one entry has at most.
	maxRegistered = 1 << 16
	// maxRegister bounds a register in bytes: some 30 million destructions.
	maxRegister = 256 << 20
)

// Destroyed is a slot whose key was destroyed by the change to a generation: a key
// tree of that generation, or a later one, has it no more.
type Destroyed struct {
	Generation uint64
	Slot       int64
}

// register is the file to which destroyed slots are appended. A restoration kills
// again what it says was destroyed after the key tree that is restored. A nil one
// does nothing.
type register struct {
	fsys disk.FS
	path string
	mu   sync.Mutex
}

func newRegister(fsys disk.FS, path string) *register {
	if path == "" {
		return nil
	}
	return &register{fsys: fsys, path: path}
}

// append registers at most maxRegistered slots, durably, in one entry. It first cuts off what a crash left of an
// earlier append. Crash: none of it, all of it, or a torn entry.
func (r *register) append(generation uint64, slots []slot) (err error) {
	if r == nil || len(slots) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("registering destroyed keys in %s: %w", r.path, err)
		}
	}()
	end, err := r.prepare()
	if err != nil {
		return err
	}
	f, err := r.fsys.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(end); err == nil {
		_, err = f.WriteAt(appendRegistered(nil, generation, slots), end)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
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
	_, end, err = parseRegister(b)
	return end, err
}

// appendRegistered appends an entry:
//
//	generation (8) || count (4) || CRC-32C of these 12 bytes (4) ||
//	count slots (8 each) || zeros, to a multiple of 16 bytes with what follows ||
//	CRC-32C of slots and zeros (4)
func appendRegistered(b []byte, generation uint64, slots []slot) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, generation)
	b = binary.BigEndian.AppendUint32(b, uint32(len(slots)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	at = len(b)
	for _, s := range slots {
		b = binary.BigEndian.AppendUint64(b, uint64(s))
	}
	b = append(b, make([]byte, registerPadding(len(slots)))...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func registerPadding(count int) int { return 12 - 8*(count%2) }

func readRegisterFile(fsys disk.FS, path string) ([]byte, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRegister {
		return nil, fmt.Errorf("%d bytes, at most %d are read: %w", info.Size(), maxRegister, ErrRegister)
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
	list, _, err := parseRegister(b)
	if err != nil {
		return nil, fmt.Errorf("reading the register of destroyed keys %s: %w", path, err)
	}
	return list, nil
}

// parseRegister returns the entries of a register and where they end.
func parseRegister(b []byte) (list []Destroyed, end int64, err error) {
	if len(b) < len(registerMagic) || string(b[:len(registerMagic)]) != registerMagic {
		return nil, 0, fmt.Errorf("it begins with something else: %w", ErrRegister)
	}
	for at := len(registerMagic); ; {
		n, generation, slots, err := parseRegistered(b[at:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return list, int64(at), nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("entry at byte %d: %w", at, err)
		}
		for ; len(slots) > 0; slots = slots[8:] {
			d := Destroyed{generation, int64(binary.BigEndian.Uint64(slots))}
			if d.Slot <= 0 || d.Generation == 0 {
				return nil, 0, fmt.Errorf("slot %d of generation %d: %w", d.Slot, d.Generation, ErrRegister)
			}
			list = append(list, d)
		}
		at += n
	}
}

// parseRegistered reads one entry, and answers io.ErrUnexpectedEOF if there is none,
// or one that is torn: cut, or the last one and not whole, so that a crash can have
// left it. A sector that was not written is zeros.
func parseRegistered(b []byte) (size int, generation uint64, slots []byte, err error) {
	const head = registerAlign
	if len(b) < head || isZero(b[:head]) {
		return 0, 0, nil, io.ErrUnexpectedEOF
	}
	count := binary.BigEndian.Uint32(b[8:])
	if crc32.Checksum(b[:12], castagnoli) != binary.BigEndian.Uint32(b[12:]) || count == 0 || count > maxRegistered {
		return 0, 0, nil, ErrRegister
	}
	n := int(count)
	size = head + 8*n + registerPadding(n) + 4
	if size > len(b) {
		return 0, 0, nil, io.ErrUnexpectedEOF
	}
	body := b[head : size-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[size-4:]) {
		if size == len(b) {
			return 0, 0, nil, io.ErrUnexpectedEOF
		}
		return 0, 0, nil, ErrRegister
	}
	if !isZero(body[8*n:]) {
		return 0, 0, nil, ErrRegister
	}
	return size, binary.BigEndian.Uint64(b), body[:8*n], nil
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// trim drops the entries up to a generation.
func (r *register) trim(generation uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	list, err := ReadRegister(r.fsys, r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b := []byte(registerMagic)
	for len(list) > 0 {
		g := list[0].Generation
		var slots []slot
		for len(list) > 0 && list[0].Generation == g && len(slots) < maxRegistered {
			slots = append(slots, slot(list[0].Slot))
			list = list[1:]
		}
		if g > generation {
			b = appendRegistered(b, g, slots)
		}
	}
	// Crash before: the register as it was. Crash after: the shorter one.
	if err := disk.WriteFile(r.fsys, r.path, b, 0o600); err != nil {
		return fmt.Errorf("dropping entries of the register of destroyed keys: %w", err)
	}
	return nil
}
