//go:build !linux

package helper

import "errors"

func harden() error {
	return errors.New("medledger-token runs on Linux only; keep the keys in a folder on this system")
}
