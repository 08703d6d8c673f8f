package vault

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/medledger/medledger/ledger/custody"
)

// vaultID tells vaults apart that share a custody. It is random.
type vaultID [16]byte

func newVaultID(random io.Reader) (id vaultID, err error) {
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return id, fmt.Errorf("reading randomness for the id of a vault: %w", err)
	}
	return id, nil
}

const rootPrefix = "root-"

// rootName is the name in custody of the root key of a generation.
func (id vaultID) rootName(generation uint64) string {
	return rootPrefix + hex.EncodeToString(id[:]) + "-" + strconv.FormatUint(generation, 10)
}

// parseRootName accepts what rootName writes and nothing else.
func parseRootName(name string) (id vaultID, generation uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, rootPrefix)
	if !ok || len(rest) < 2*len(id)+2 {
		return id, 0, false
	}
	if _, err := hex.Decode(id[:], []byte(rest[:2*len(id)])); err != nil {
		return id, 0, false
	}
	generation, err := strconv.ParseUint(rest[2*len(id)+1:], 10, 64)
	return id, generation, err == nil && id.rootName(generation) == name
}

const (
	treeFormat = 1
	// maxHeight bounds the levels of a tree, and with them the rows' numbers.
	maxHeight = 15
	maxFanOut = 1024
	minFanOut = 2
	// firstGeneration is that of a vault's first root key.
	firstGeneration = 1
)

var errTree = errors.New("malformed state of the key tree")

// treeState is what the database says of the tree: the one row by whose change a
// new generation counts.
type treeState struct {
	generation uint64 // of the root key; 0 while the vault is being made
	fanOut     int
	height     int          // levels; the top node is at level height-1
	kind       custody.Kind // where the root key is
	top        []byte       // the top node's key, sealed by the root key
}

func (s *treeState) marshal() []byte {
	b := []byte{treeFormat}
	b = binary.BigEndian.AppendUint64(b, s.generation)
	b = binary.BigEndian.AppendUint32(b, uint32(s.fanOut))
	b = append(b, byte(s.height), byte(len(s.kind)))
	b = append(b, s.kind...)
	return append(b, s.top...)
}

// parseTreeState is strict: it accepts only what marshal writes.
func parseTreeState(b []byte) (s treeState, err error) {
	const fixed = 1 + 8 + 4 + 1 + 1
	if len(b) < fixed || b[0] != treeFormat || len(b) < fixed+int(b[fixed-1]) {
		return s, fmt.Errorf("%d bytes: %w", len(b), errTree)
	}
	s.generation = binary.BigEndian.Uint64(b[1:])
	s.fanOut = int(binary.BigEndian.Uint32(b[9:]))
	s.height = int(b[13])
	n := int(b[14])
	s.kind = custody.Kind(b[fixed : fixed+n])
	s.top = b[fixed+n:]
	begun := s.generation > 0
	if s.fanOut < minFanOut || s.fanOut > maxFanOut || s.height > maxHeight || begun != (s.height > 0) ||
		begun != (len(s.top) > 0) || len(s.top) > custody.MaxSealed || s.kind != custody.File && s.kind != custody.Token {
		return s, fmt.Errorf("generation %d, fan-out %d, %d levels, custody %q, %d bytes sealed: %w", s.generation, s.fanOut, s.height, s.kind, len(s.top), errTree)
	}
	return s, nil
}

// nodeID is the place of a node: a node at level 0 holds the keys of the slots
// index*fanOut and on, one at level n+1 those of as many nodes of level n.
type nodeID struct {
	level int
	index int64
}

const indexBits = 48

// row is the number of a node's row. Level 0 comes last, so that the nodes of new
// slots are at the table's end, and a reader of all rows meets each node after the
// one that holds its key.
func (n nodeID) row() int64 { return int64(maxHeight-n.level)<<indexBits | n.index }

// nodeOfRow is the inverse of row.
func nodeOfRow(row int64) (n nodeID, ok bool) {
	n = nodeID{maxHeight - int(row>>indexBits), row & (1<<indexBits - 1)}
	return n, row > 0 && n.level >= 0 && n.level < maxHeight
}

// leaf returns the node that a slot's key is in, and its place there.
func (s *treeState) leaf(at slot) (n nodeID, child int) {
	return nodeID{0, int64(at) / int64(s.fanOut)}, int(int64(at) % int64(s.fanOut))
}

// parent returns the node that a node's key is in, and its place there.
func (s *treeState) parent(n nodeID) (above nodeID, child int) {
	return nodeID{n.level + 1, n.index / int64(s.fanOut)}, int(n.index % int64(s.fanOut))
}

func (s *treeState) topID() nodeID { return nodeID{s.height - 1, 0} }

// fits reports whether a slot has its place below the top node.
func (s *treeState) fits(at slot) bool {
	index := int64(at) / int64(s.fanOut)
	for range s.height - 1 {
		index /= int64(s.fanOut)
	}
	return index == 0
}

const (
	nodeContext  = "medledger/vault/node/v1\x00"
	topContext   = "medledger/vault/top/v1\x00"
	epochContext = "medledger/vault/epoch/v1\x00"
)

func (id vaultID) nodeContext(n nodeID) []byte {
	b := append([]byte(nodeContext), id[:]...)
	return binary.BigEndian.AppendUint64(append(b, byte(n.level)), uint64(n.index))
}

// topContext is what the top node's key is bound to under the root key.
func (id vaultID) topContext(generation uint64, height int) []byte {
	b := append([]byte(topContext), id[:]...)
	return append(binary.BigEndian.AppendUint64(b, generation), byte(height))
}

// epochContext is what it is bound to under the key of a backup's epoch.
func (id vaultID) epochContext(generation uint64, height int, epoch string) []byte {
	b := append([]byte(epochContext), id[:]...)
	b = append(binary.BigEndian.AppendUint64(b, generation), byte(height))
	return append(b, epoch...)
}

// sealNode seals what a node holds.
func sealNode(id vaultID, n nodeID, key *[keySize]byte, children []byte, random io.Reader) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return seal(aead, random, children, id.nodeContext(n))
}

// unsealNode opens what sealNode sealed. The caller wipes the result.
func unsealNode(id vaultID, n nodeID, key *[keySize]byte, blob []byte, fanOut int) ([]byte, error) {
	if len(blob) != fanOut*keySize+sealOverhead {
		return nil, fmt.Errorf("node %d of level %d with %d bytes: %w", n.index, n.level, len(blob), errWrapped)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	children, err := unseal(aead, blob, id.nodeContext(n))
	if err != nil {
		return nil, fmt.Errorf("node %d of level %d: %w", n.index, n.level, err)
	}
	return children, nil
}
