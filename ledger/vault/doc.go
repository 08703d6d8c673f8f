// Package vault keeps the contents of record versions, encrypted, and destroys
// keys. Only the ledger writes to it: contents first, then the event that
// commits to them, and the other way round for destruction.
//
// Every record version is encrypted under a fresh random 256-bit key. That key,
// the salt of the version's commitment (verifier/commitment), its size and its
// content type are kept wrapped under the root key in SQLite; the ciphertext is
// kept in files. Destroying a record destroys the wrapped keys and salts of all
// its versions: the ciphertext, wherever copies of it are, says nothing any
// more, and the commitments in the log cannot be opened.
//
// # Files
//
//	keys.sqlite            wrapped keys, where each ciphertext lies, tombstones
//	segments/NNNNNNNNNN.seg  ciphertexts of small contents, one after the other
//	large/HH/ID-VERSION    the ciphertext of one large content; HH are the
//	                       first two hex digits of the record id
//
// All integers below are unsigned and big-endian.
//
// # Ciphertext (STREAM)
//
// A content is cut into chunks of 65,536 bytes; the last one may be shorter and
// is empty only if the content is. Chunk i is sealed with AES-256-GCM under the
// version's key and the nonce
//
//	counter i (11 bytes) || 1 if it is the last chunk, else 0 (1 byte)
//
// with the 32-byte context of the version as additional data:
//
//	"MLVAULT" || 0x01 || record id (16) || version (4) || chunk size (4)
//
// A chunk is its ciphertext followed by the 16-byte tag, a ciphertext is its
// chunks in order. A key seals one content only, so no nonce repeats. Removing,
// repeating or reordering chunks changes the counter or the last flag that the
// reader expects, and moving a ciphertext to another version changes key and
// context: each fails authentication, and no plaintext of a chunk is released
// before its tag was checked.
//
// A large file is the context followed by the ciphertext. A segment file is
//
//	"MLVSEG" || 0x00 || 0x01 || segment number (8)
//
// followed by records
//
//	length of ciphertext (4) || CRC-32C of what follows (4) ||
//	record id (16) || version (4) || ciphertext
//
// A segment ends at its end or at the first record that does not parse: what
// lies there is the torn tail of a crash, and nothing refers to it. Nothing is
// ever cut off a segment; writing goes on in the next one.
//
// # Wrapped key
//
//	0x01 || nonce (12) || AES-256-GCM(root key, nonce, secrets, context)
//
// where context is "medledger/vault/key/v1", a zero byte, record id (16) and
// version (4), and secrets are
//
//	key (32) || salt (32) || size of content (8) ||
//	length of content type (1) || content type
//
// Nonces are random, so one root key may wrap at most 2^32 versions.
//
// # SQLite
//
// Wrapped keys lie in a table of their own (keys), whose rows are appended and
// overwritten in place with zeros of the same length, but never deleted or
// moved. SQLite's secure_delete overwrites what is deleted; that it also does
// so with the copies that moving a row between pages may leave is not
// documented, and with rows that stay where they are nothing depends on it.
// Overwriting a row and truncating the write-ahead log then leaves no copy in
// SQLite's files. The zeroed slot of a destroyed version, about 150 bytes,
// stays. What a disk or file system keeps of blocks that were overwritten is
// beyond this package: proof of destruction against images of the disk is for
// a hierarchy of keys to give, not for SQLite.
//
// # Destruction
//
// Destroy closes the record, ends its readers, wipes its cached keys, commits
// the overwriting of its keys together with a tombstone, truncates the
// write-ahead log and removes the ciphertext files. Ciphertext of small
// contents stays in its segment, without a key, until every version in that
// segment is destroyed or discarded and Collect removes the file. Keys are
// wiped from the vault's own memory, as are its plaintext buffers; expanded key
// schedules inside crypto/aes and freed memory are left to the garbage
// collector.
//
// # Exclusive use
//
// One Vault at a time may use a folder. The vault does not lock it: the ledger
// locks the data folder in which the vault lies.
package vault
