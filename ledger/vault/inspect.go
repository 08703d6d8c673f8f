package vault

import (
	"fmt"
	"io"
)

// KeysInfo says what a backup of keys has.
type KeysInfo struct {
	// Generation is that of the root key.
	Generation uint64
	// LastSlot is the last slot that was given out when it was made.
	LastSlot int64
	// Epoch is the name of the key in custody that opens it.
	Epoch string
}

// InspectKeys reads the beginning of what BackupKeys wrote. It opens nothing.
func InspectKeys(from io.Reader) (KeysInfo, error) {
	r, err := newEntryReader(from, keysFormat)
	if err != nil {
		return KeysInfo{}, fmt.Errorf("reading a backup of keys: %w", err)
	}
	head, err := r.next()
	if err != nil {
		return KeysInfo{}, fmt.Errorf("reading a backup of keys: %w", err)
	}
	return KeysInfo{Generation: head.number, LastSlot: int64(head.slot), Epoch: head.tree.epoch}, nil
}
