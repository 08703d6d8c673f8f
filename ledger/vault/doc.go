// Package vault keeps what the log must not show, encrypted, and destroys keys:
// the contents of record versions, and documents, which are identities,
// directory entries and disclosure accounting, with the terms by which they are
// found. Only the ledger writes to it: contents first, then the event that
// commits to them, and the other way round for destruction.
//
// # Keys
//
//	root key                        a file outside the vault's folder
//	  named keys                    random, 256 bits each
//	    record key, of each record
//	      version key, of each of its versions: its content
//	    patient key, of each patient: its documents in Identity
//	    accounting key, of each patient: its documents in Accounting
//	    directory key: the documents in Directory
//	    index key: digests of terms
//
// Each key is kept wrapped under the one above it, in SQLite; the ciphertext of
// contents is kept in files. Destroying a named key destroys everything below it:
// the ciphertext, wherever copies of it are, says nothing any more, and the
// commitments in the log (verifier/commitment) cannot be opened, for their salts
// lie under the same key. What lies between the root key and the named keys is
// behind one interface, keyring: a tree of keys can take the place of wrapping
// under the root key without any change of the formats below.
//
// # Files
//
//	keys.sqlite            wrapped keys, documents, terms, tombstones, and where
//	                       each ciphertext lies
//	segments/NNNNNNNNNN.seg  ciphertexts of small contents, one after the other
//	large/HH/ID-VERSION    the ciphertext of one large content; HH are the
//	                       first two hex digits of the record id
//	keys.sqlite.new        while the vault is upgraded or restored: the key
//	                       database to be
//	keys.sqlite.old        while it is upgraded: the former one, to be overwritten
//	restoring              while it is restored: the mark that it is unfinished
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
// # Wrapped keys and documents
//
// Whatever is sealed in SQLite is
//
//	0x01 || nonce (12) || AES-256-GCM(key, nonce, plaintext, context)
//
// with these keys, plaintexts and contexts, where 0 is a zero byte:
//
//	named key   root key     key (32)            "medledger/vault/named-key/v1" || 0 || kind (1) || owner (16) || slot (8)
//	version     record key   secrets             "medledger/vault/version/v1" || 0 || record id (16) || version (4)
//	document    named key    salt (32) || text   "medledger/vault/document/v1" || 0 || space (1) || owner (16) || id (16)
//	key check   root key     nothing             "medledger/vault/key-check/v1" || 0
//
// The key check, by which a vault recognises its root key, is without the first
// byte. Kinds are 1 for a record's key, 2 for a patient's, 3 for the accounting
// of a patient, 4 for the directory, 5 for the index; spaces are 1 for Identity,
// 2 for Accounting, 3 for Directory; the owner of what is the ledger's is zero.
// The secrets of a version are
//
//	key (32) || salt (32) || size of content (8) ||
//	length of content type (1) || content type
//
// Nonces are random, so one root key may wrap at most 2^32 named keys, and the
// directory key seal at most 2^32 documents.
//
// # Terms
//
// The index holds of a term the digest
//
//	HMAC-SHA256(index key, "medledger/vault/term/v1" || 0 || space (1) ||
//	  length (4) || system || length (4) || value)
//
// Whoever has the database but not the root key can neither read a term nor try
// one out. Two documents of a space never share a term.
//
// # SQLite
//
//	keys       slot, name = kind || owner, wrapped: the named keys
//	owners     kind, owner, key: the slot of each named key but the records'
//	versions   serial, record, version, key (slot of the record's),
//	           segment (0: a large file), offset, length, secrets
//	documents  serial, space, owner, id, key (slot), sealed
//	terms      number, digest
//	buckets    bucket (first two bytes of a digest), term, document (serial)
//	destroyed  kind, owner, keys: tombstones, and how many keys went
//	segments   number, live: how many versions lie in each segment
//	meta       'key-check', and 'collected': the serial up to which Collect asked
//
// user_version is 2. Serials and slots ascend and are never used twice.
//
// The rows of keys and of terms are appended and overwritten in place with zeros
// of the same length, but never deleted or moved. SQLite's secure_delete
// overwrites what is deleted, but not the copies that moving a row between pages
// leaves; with rows that stay where they are nothing depends on that. Overwriting
// a row and truncating the write-ahead log then leaves no copy in SQLite's files.
// The zeroed slot of a destroyed record, about 90 bytes, stays. All other rows are
// deleted: copies of those that say something lie under a key that is gone. Of a
// term two bytes of its digest, in a bucket, may be left in a copy, and of what
// was discarded under a key that lives on, which nobody was told of, the
// ciphertext. What a disk or file system keeps of blocks that were overwritten is
// beyond this package: proof of destruction against images of the disk is for a
// tree of keys to give, not for SQLite.
//
// Schema 1, of earlier programs, had no named keys: it wrapped the secrets of
// versions under the root key. Open refuses it, Upgrade converts it.
//
// # Destruction
//
// Destroy closes the record, ends its readers, wipes its cached keys, commits
// the overwriting of its key and the removal of its versions together with a
// tombstone, truncates the write-ahead log and removes the ciphertext files.
// DestroyPatient and DestroyAccounting do the same with a patient's documents and
// their terms. Ciphertext of small contents stays in its segment, without a key,
// until every version in that segment is destroyed or discarded and Collect
// removes the file. Keys are wiped from the vault's own memory, as are its
// plaintext buffers; expanded key schedules inside crypto/aes and freed memory
// are left to the garbage collector.
//
// # Backup
//
// A backup has the folders segments and large, with the same files, and a file
// rows:
//
//	"MLVBAK" || 0x00 || 0x01 || entries
//	entry:  length of what follows the checksum (4) || CRC-32C of that (4) ||
//	        kind (1) || fields
//
// Entries come in the order of their kinds, the first and the last once:
//
//	  1  key check (28)
//	  2  serial (8) || record id (16) || version (4) || slot (8) || segment (4) ||
//	     offset (8) || length (8) || secrets, sealed
//	  3  serial (8) || space (1) || owner (16) || id (16) || slot (8) || document, sealed
//	  4  serial of document (8) || digest of a term (32)
//	  5  kind of key (1) || owner (16) || slot (8)
//	  6  slot (8) || kind of key (1) || owner (16) || named key, sealed (61)
//	  7  kind of key (1) || owner (16) || number of keys destroyed (8)
//	255  number of entries before this one (8)
//
// As rows are read in this order while the vault is written to, entries 2 to 5
// may name a key that is not there, and entry 6 one that a tombstone destroys or
// that nothing lies under: these are left out when the backup is restored. The
// checksums find damage; what is sealed is authenticated when it is opened.
// Whoever has a backup and the root key can read what was not destroyed before
// it, so backups are to be kept no longer than that is wanted.
//
// # Exclusive use
//
// One Vault at a time may use a folder. The vault does not lock it: the ledger
// locks the data folder in which the vault lies.
package vault
