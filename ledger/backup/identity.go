package backup

import (
	"bytes"
	"fmt"

	"filippo.io/age"
)

// NewIdentity makes an age identity: the text to be kept, and the recipient that backups
// are encrypted to.
func NewIdentity() (identity, recipient string, err error) {
	made, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("making an identity: %w", err)
	}
	return made.String(), made.Recipient().String(), nil
}

// ParseIdentities reads a file of age identities, as 'medledger backup identity' and
// age-keygen write it.
func ParseIdentities(file []byte) ([]age.Identity, error) {
	list, err := age.ParseIdentities(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("reading the identity, a line that begins with AGE-SECRET-KEY-1: %w", err)
	}
	return list, nil
}
