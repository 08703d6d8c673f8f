//go:build !cgo

package pkcs11

import (
	"strings"
	"testing"
)

func TestWithoutCgo(t *testing.T) {
	for _, err := range []error{second(Open(t.Context(), Config{})), Check(t.Context(), Config{}, nil)} {
		if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=1") {
			t.Errorf("it said %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
