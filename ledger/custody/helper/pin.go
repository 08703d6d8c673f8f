package helper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxPIN is how many bytes a PIN has at most.
const maxPIN = 255

// readPIN reads the PIN from its file, which nobody but its owner may read. One end
// of line after it is not part of it. The caller wipes the result.
func readPIN(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the PIN's file: %w", err)
	}
	defer f.Close() // opened for reading: nothing is lost
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("looking at the PIN's file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&^0o600 != 0 {
		return nil, fmt.Errorf("the PIN's file %s has mode %v, so that others may read it; run chmod 600 on it, and change the PIN if others could", name, info.Mode())
	}
	buffer := make([]byte, maxPIN+2)
	n, err := io.ReadFull(f, buffer)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading the PIN's file %s: %w; it must hold the PIN and nothing else", name, err)
	}
	pin := bytes.TrimSuffix(buffer[:n], []byte("\n"))
	if len(pin) < 1 || len(pin) > maxPIN || bytes.ContainsAny(pin, "\r\n\x00") {
		clear(buffer)
		return nil, fmt.Errorf("the PIN's file %s must hold one line of 1 to %d bytes, the PIN and nothing else", name, maxPIN)
	}
	return pin, nil
}
