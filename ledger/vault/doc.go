// Package vault keeps what the log must not show, encrypted, and destroys keys:
// the contents of record versions, and documents, which are identities,
// directory entries and disclosure accounting, with the terms by which they are
// found. Only the ledger writes to it: contents first, then the event that
// commits to them, and the other way round for destruction.
//
// # Keys
//
//	root key of a generation        in custody (ledger/custody), outside the folder
//	  node keys                     the key tree: level under level
//	    named keys                  random, 256 bits each, in slots
//	      record key, of each record
//	        version key, of each of its versions: its content
//	      patient key, of each patient: its documents in Identity
//	      accounting key, of each patient: its documents in Accounting
//	      directory key: the documents in Directory
//	      index key: digests of terms
//
// Destroying a named key destroys everything below it: the ciphertext, wherever
// copies of it are, says nothing any more, and the commitments in the log
// (verifier/commitment) cannot be opened, for their salts lie under the same key.
// That the named key itself is nowhere any more, also in no copy of the folder that
// was made before, is what the tree is for.
//
// # The key tree
//
// Named keys have slots, numbers that ascend and are never used twice. With the
// fan-out F, the node of level 0 and index i holds the keys of slots i·F to i·F+F-1;
// that of level n+1 and index i the node keys of the nodes i·F to i·F+F-1 of level n.
// Where there is no key there are zeros. A node is sealed as a whole, under its own
// node key. The node above all others is the top; its key is sealed by the root key,
// in custody. When slots outgrow the tree, it gets a level above the top.
//
// New keys go into their node, which is sealed again under the same node key, once a
// batch of writes. A destruction, or a batch of them, makes a new generation
// (swap.go): every node on a path from the top to a destroyed slot gets a new key,
// without that slot, the top's new key is sealed by a new root key, and the root key
// of the generation before is destroyed. Its steps, each durable before the next:
//
//	   the tombstones and the doomed slots, in one transaction
//	1  the root key of generation g+1
//	2  the new nodes, beside the old ones
//	3  reading all that back through another connection, from the custody down: every
//	   node opens, new keys are new, and holds what it held but for the doomed slots
//	4  the register of destroyed slots, outside the folder
//	5  the new nodes replace the old ones, g+1 is the generation: one transaction
//	6  the end of root key g
//	7  truncating the write-ahead log
//
// A crash before 5 leaves generation g and the doomed slots: the next Open begins
// again with 1. A crash after 5 leaves generation g+1: the next Open goes on with 6.
// So a destruction never goes back. The register comes before 5, and not just before
// 6: once the slots are not pending any more nobody would know what to register. If 3
// fails, nothing is destroyed and the vault stops.
//
// # Why what is destroyed is gone
//
// Claim. When a destruction of slot s has returned, in generation g+1, nobody can
// compute the named key K of s from everything that was ever written to the folder of
// the vault, to its write-ahead log, to SQLite's free pages and to backups of
// contents, together with the keys in custody from now on; provided that AES-256-GCM
// is secure, node keys and nonces are random, a key that custody destroyed is gone,
// and the epochs of those backups of keys that hold s are retired (below).
//
// Argument. Call a key dead if nobody can compute it from all that; K is to be shown
// dead. Take the path of nodes from the level-0 node N0 of s to the top Nh, as it was
// in generation g, and let ki be the key of Ni at that time.
//
// (a) K was written in two ways only: inside N0, sealed; and not at all. (Memory is
// not written; temp_store is memory.) N0 was sealed under k0, or, if an earlier
// destruction had renewed it, under its keys before k0. The nodes that replace it are
// sealed under a later key, without K: step 3 has read them.
//
// (b) A key that Ni had at any time up to generation g was written only inside the
// parent of Ni at that time, sealed under a key that the parent had up to generation g;
// or, if Ni was then the top, sealed by root keys of generations up to g. For a node
// key is drawn when a node is made or renewed; it goes into the parent, or to the
// custody, and nowhere else; and generation g+1 renews all of N0 to Nh, so that no
// node of it holds, and its root key does not seal, a key that any of these had before.
// A level that is added above the top holds the key of the former top: it is itself a
// parent on the path, and was renewed.
//
// (c) The root keys of generations up to g are dead: step 6 has destroyed them, as
// every step 6 before had the earlier ones, and Open completes a step 6 that was not
// reached. Keys never leave a custody, so that they were never written to the folder.
//
// By (c) and (b), from the top downwards, all keys that Nh, then Nh-1, to N0 had up to
// generation g are dead: each lies only in ciphertexts under dead keys, and AES-GCM
// ciphertexts under unknown random keys tell nothing of their contents but the length
// (the number of ciphertexts under one node key is at most one for each change of its
// F children, far from the bounds of NIST SP 800-38D). By (a) K is dead. ∎
//
// Where it ends:
//
//   - It is as good as custody. A folder of files withstands no image of its own disk;
//     a token's keys never leave it. A move into a token makes that no better for
//     what was there before: an image of folder and file from before it opens these. The
//     destroyed event says the weakest that the key was ever below (weakest.go).
//   - A backup of keys (BackupKeys) is one more way to the top: its key sealed under
//     the epoch's. The claim holds for what such a backup has once that key is
//     destroyed. Until then the register makes a restoration destroy again what was
//     destroyed since; that is a procedure, not a proof.
//   - A vault that was restored from a backup has an id, a root key and node keys of its
//     own. What the former vault's folder had opens with the former root key: the first
//     destruction in the restored vault destroys that too (swap.go, retire).
//   - Before the first destruction after an upgrade, old copies open with the former
//     root key in a file, so Upgrade overwrites and removes it.
//   - What was discarded has no event, and nobody is promised anything. Its slot is
//     emptied at once, but older copies of its node have it under the same node key: it
//     is doomed with the next destruction, or the next Open, wherever in the tree that
//     is, and the claim then holds for it too.
//   - Terms: see below; and what a recipient kept.
//
// Integrity is not confidentiality: whoever writes to the database can still destroy
// anything, but not keep what is to die. A node is bound to its place and its vault; a
// named key that is not a record's to its name and slot, by a proof under the key
// itself; a version's secrets to the record and version. Before something is put under
// a key that is there, it is held to these, so that nobody can redirect it to a key
// that outlives it.
//
// # Files
//
//	keys.sqlite            the key tree, documents, terms, tombstones, and where each
//	                       ciphertext lies
//	segments/NNNNNNNNNN.seg  ciphertexts of small contents, one after the other
//	large/HH/ID-VERSION    the ciphertext of one large content; HH are the
//	                       first two hex digits of the record id
//	keys.sqlite.new        while the vault is upgraded or restored: the key
//	                       database to be
//	keys.sqlite.old        while it is upgraded: the former one, to be overwritten
//	restoring, upgrading   while it is restored or upgraded: the mark that it is
//	                       unfinished, with the id of the vault to be, in hex
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
// # Nodes, secrets and documents
//
// Whatever is sealed in SQLite, but for the top's key, is
//
//	0x01 || nonce (12) || AES-256-GCM(key, nonce, plaintext, context)
//
// with these keys, plaintexts and contexts, where 0 is a zero byte:
//
//	node        node key     F keys (32 each)    "medledger/vault/node/v1" || 0 || vault id (16) || level (1) || index (8)
//	proof       named key    nothing             "medledger/vault/named-key/v1" || 0 || kind (1) || owner (16) || slot (8)
//	version     record key   secrets             "medledger/vault/version/v1" || 0 || record id (16) || version (4)
//	document    named key    salt (32) || text   "medledger/vault/document/v1" || 0 || space (1) || owner (16) || id (16)
//
// The top's key is sealed by custody, with the context
//
//	"medledger/vault/top/v1" || 0 || vault id (16) || generation (8) || height (1)
//
// The root key of a generation is called root-ID-GENERATION in custody, with the
// vault's id in hex, so that vaults may share a custody. Kinds are 1 for a record's
// key, 2 for a patient's, 3 for the accounting of a patient, 4 for the directory, 5 for
// the index; spaces are 1 for Identity, 2 for Accounting, 3 for Directory; the owner of
// what is the ledger's is zero. The secrets of a version are
//
//	key (32) || salt (32) || size of content (8) ||
//	length of content type (1) || content type
//
// Nonces are random, so the directory key may seal at most 2^32 documents.
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
//	nodes      id = (15 - level)·2^48 + index, blob: the key tree
//	staged     the same, while a generation is made
//	pending    slot, promised: what the next generation leaves out; promised is 0 for
//	           what was discarded
//	owners     kind, owner, key (slot), proof: of each named key but the records'
//	versions   serial, record, version, key (slot of the record's),
//	           segment (0: a large file), offset, length, secrets
//	documents  serial, space, owner, id, key (slot), sealed
//	terms      number, digest
//	buckets    bucket (first two bytes of a digest), term, document (serial)
//	destroyed  kind, owner, keys: tombstones, and how many keys went
//	segments   number, live: how many versions lie in each segment
//	meta       'vault', its id; 'former', the ids of those it was restored from;
//	           'tree' and while a generation is made 'staged-tree':
//	             0x01 || generation (8) || fan-out (4) || height (1) ||
//	             length of kind (1) || kind of custody || the top's key, sealed;
//	           'last-slot', and 'own-slot', the first since a restoration;
//	           'guarded-slot', the first whose key was never below a root key in a file;
//	           'moving', generation (8) || kind of custody, while the root key moves;
//	           'collected', the serial up to which Collect asked
//
// user_version is 3. Serials and slots ascend and are never used twice.
//
// secure_delete is on and the write-ahead log is truncated after destructions: that is
// hygiene, and no part of the argument above, except for terms. Their rows are
// appended and overwritten in place with zeros of the same length, but never deleted or
// moved: then nothing depends on the copies that moving a row between pages leaves. Two
// bytes of a digest, in a bucket, may be left in a copy. Whoever has an older copy of
// the folder, and the index key, which lives on, can try out whether a value was a term
// of a patient who was destroyed since: which is to be known of copies.
//
// Schema 1, of earlier programs, had no named keys: it wrapped the secrets of
// versions under the root key. Schema 2 wrapped named keys under the root key, a row
// each. Open refuses both, Upgrade converts them.
//
// # Destruction
//
// Destroy closes the record, ends its readers, wipes its cached keys, commits the
// doomed slot and the removal of its versions together with a tombstone, makes the next
// generation and removes the ciphertext files. DestroyPatient does the same with a
// patient's documents in Identity and their terms. Ciphertext of small contents
// stays in its segment, without a key, until every version in that segment is destroyed
// or discarded and Collect removes the file. Keys are wiped from the vault's own
// memory, as are its plaintext buffers; expanded key schedules inside crypto/aes and
// freed memory are left to the garbage collector.
//
// # The register
//
// The register of destroyed slots lies with the secrets. It begins with
//
//	"MLVREG" || 0x00 || 0x01 || zeros (8)
//
// followed by entries (register.go), one for each generation that destroyed something,
// without names. What of a last entry is not whole is what a crash left, and the next
// one takes its place; any other damage is an error.
//
// Generations only grow, also across restorations: a restored vault's is later than
// that of the backup, and than all that the register, the custody and whoever restores
// know of. So a backup of keys needs the entries of generations after its own, and no
// others. TrimRegister drops what no backup needs any more.
//
// # Backup
//
// A backup has two sides. That of contents is increments (increment.go has their format),
// which an Unpacker makes a folder of, with the folders segments and large, with the same
// files, and a file rows, with rows but no keys. That of keys (BackupKeys) is one stream,
// of all nodes as they are at one moment. Both have entries:
//
//	rows:  "MLVBAK" || 0x00 || 0x02 || entries
//	keys:  "MLVKEY" || 0x00 || 0x01 || entries
//	entry:  length of what follows the checksum (4) || CRC-32C of that (4) ||
//	        kind (1) || fields
//
// Entries come in the order of their kinds, the first and the last once:
//
//	  1  vault id (16) || ids of former vaults (16 each)                    first of rows
//	  2  serial (8) || record id (16) || version (4) || slot (8) || segment (4) ||
//	     offset (8) || length (8) || secrets, sealed
//	  3  serial (8) || space (1) || owner (16) || id (16) || slot (8) || document, sealed
//	  4  serial of document (8) || digest of a term (32)
//	  5  kind of key (1) || owner (16) || slot (8) || proof (29)
//	  7  kind of key (1) || owner (16) || number of keys destroyed (8)
//	  8  generation (8) || last slot (8) || fan-out (2) || height (1) ||
//	     length of epoch (1) || length of top (1) || name of the epoch's key ||
//	     top's key, sealed by that key || number of former vaults (1) ||
//	     vault id (16) || ids of former vaults (16 each)                    first of keys
//	  9  level (1) || index (8) || node, sealed
//	255  number of entries before this one (8)
//
// The top's key in entry 8 has the context
//
//	"medledger/vault/epoch/v1" || 0 || vault id (16) || generation (8) || height (1) || name
//
// Nodes come from the top down, by level and index. Rows are read while the vault is
// written to, so that they may name a key that is not there, or that a tombstone
// destroys; such rows are left out when a backup is restored, and keys that nothing
// lies under. The checksums find damage; what is sealed is authenticated when it is
// opened. Contents of any age are restored with keys of any age: there is what both
// have.
//
// # Exclusive use
//
// One Vault at a time may use a folder. The vault does not lock it: the ledger
// locks the data folder in which the vault lies.
package vault
