// Package backup keeps backups of a ledger from which what was destroyed does not come
// back. A backup has two sides:
//
//	data side  the log and the vault's ciphertext, encrypted; may be kept for years
//	key side   snapshots of the vault's key tree, each under the key of an epoch, which
//	           is destroyed on its day; and the secrets, encrypted
//
// A restore joins the newest data with the newest keys. Ciphertext whose key is not in
// that tree says nothing, however old the data side is; so what was destroyed can be
// brought back only with a snapshot from before it and the key of its epoch. When the epoch
// is retired that key is destroyed in custody. With a token as custody it was nowhere else.
// With a folder it is on every medium too, for the identity on paper (key.age): there it is
// removed when the medium is seen next, and whoever has a medium that is never seen again,
// or a copy of one, and the paper, can bring back at any later time what was destroyed
// since. ledger/backup.go and ledger/restore.go call this package.
//
// # Data side
//
//	NNNNNNNNNN.age  increments, numbered from 1
//	checkpoint      the log's signed checkpoint in the newest one, in the clear
//	position        where the data side stands
//
// An increment is an age file (https://age-encryption.org/v1) for X25519 recipients. What
// age encrypts is
//
//	"MLINCR" || 0x00 || 0x01 || frames
//	frame:  length of payload (4, big-endian, at most 65,536) || kind (1) || payload
//
// in the order of the kinds:
//
//	  1  header, JSON in the form of Header; once
//	  2  a statement: the next leaf of the log; as many as the header says
//	  3  the log's signed checkpoint; once
//	  4  the next leaf of the state log; as many as the header says
//	  5  the state log's signed checkpoint; once
//	  6  the next piece of the vault's part (vault.Increment); once or more
//	255  number of frames before this one (8) ||
//	     HMAC-SHA256(secret, everything before this HMAC); once
//
// The secret derives from the ledger's keys, which whoever restores has from the secrets.
// age alone does not tell who encrypted: recipients are no secret.
//
// Increments form chains. The first of a chain begins at nothing, each later one where the
// one before ends, and names the SHA-256 of that one's file. Only the newest chain is
// restored. A new one begins when the operator says so, when the position was lost or a
// file is missing, when the ledger was restored since, and when the later increments have come to more than the first one and
// 64 MiB. When a chain has begun, the chain before it stays and those before that are
// removed; who wants to keep them copies them elsewhere.
//
// The small files position, medium, snapshot and backup-epochs are one line of canonical
// JSON and one line with, in hex,
//
//	HMAC-SHA256(secret, "medledger/backup/" || kind || 0x00 || first line with its line feed)
//
// where the kind is position, medium, epoch or epochs.
//
// # Key side
//
//	medium             whose it is, and which medium
//	secrets.age        the files of the folder of the secrets, but for the keys that
//	                   must be able to die: canonical JSON in the form of Secrets
//	epoch-NNNN/        an epoch (format 2 of its file snapshot; 1 lacked first_destroyed):
//	  snapshot         what it has, when it is retired; the log's checkpoint then
//	  tree-1 or tree-2 the newest snapshot of the key tree (vault.BackupKeys)
//	  key.age          the epoch's key, for the recipients; not if custody is a token:
//	                   then the key stays in the token, and a restore needs that
//
// # Epochs
//
// An epoch is in use for Plan.Epoch, and retired Plan.Keep after it was made, by
// destroying its key in custody; its folder is overwritten and removed from every medium
// that has it when that is seen next. Which epochs there are, and which media have them, is
// in backup-epochs in the folder of the secrets. Until a medium was seen again, whoever has
// it and an identity has the epoch's key still (key.age): 'medledger backup status' lists
// it. Of copies of a medium nobody knows, and from those the key is never removed. With a
// token as custody there is no such copy.
//
// All snapshots of an epoch, on all media, are under one key: what an epoch could bring back
// is what was destroyed since its first snapshot, not since its newest (first_destroyed in
// backup-epochs, from format 2 on).
//
// Every server retires epochs, whether or not it takes backups, and a run retires before it
// does anything else. The day has come when the clock says so, or the time of the log's last
// event.
//
// When an epoch and all before it are retired, the register of destroyed keys drops the
// destructions up to its newest snapshot (vault.TrimRegister): what is restored from a
// living epoch is of a later time and has them. Generations of the key tree are compared,
// which only grow. An older snapshot of the same epoch, on a medium that was away, is under
// the same key, and no restoration takes it. The epoch is forgotten only after that.
//
// A ledger that moves to another custody begins an epoch there with its next backup. The
// keys of the epochs before stay where they are: in the folder until their day, on which
// they are destroyed there; out of a token the ledger does not move while one lives there,
// unless they are destroyed at once, and then the backups before cannot be restored. To
// restore only the key of the newest epoch is needed.
//
// A key of an epoch that is in custody and in no list is adopted: it becomes an epoch that is
// closed, has no snapshot and no medium, and is retired as long after it was found as the
// newest epoch is after it was made (adopted in backup-epochs, from format 3 on). So it is
// with the token of a ledger that was restored without its folder of secrets: only the key
// side that was taken tells of epochs, and whoever has another one and the token could
// restore from it for ever. Numbers go on after the greatest that was seen. While such an
// epoch lives the register is not trimmed, and a key side that has a later one than this
// ledger made itself is refused, as one that is newer than the secrets. A key that a crash
// left before its epoch was written looks the same, and is adopted too. Keys are looked for
// in a restoration, in every run, with the first retirement after the ledger was opened, and
// before the ledger moves to another custody. Their names do not say whose they are: a
// custody, and so a token, is of one ledger.
//
// What a crash leaves:
//
//	making an epoch    before its key: nothing. Before backup-epochs: a key that sealed
//	                   nothing, which is adopted. After: the epoch.
//	adopting           before backup-epochs: keys in no list, which are adopted the next
//	                   time, for longer. After: epochs.
//	a snapshot         before backup-epochs names the medium: nothing. Before the file
//	                   snapshot: the snapshot before, and a tree that the next one
//	                   replaces. After: this one, and perhaps the tree before it, which
//	                   the next one removes.
//	retiring           before the key is destroyed: the epoch, due. Before backup-epochs:
//	                   the epoch, due, without a key. After: retired, to be removed from
//	                   its media. While it is removed from one: parts of a folder that
//	                   nobody can open, removed the next time.
//	trimming           before: destructions are in the register that nobody needs, and
//	                   epochs in backup-epochs that tell so. After: they are not.
//	an increment       before its name: a temporary file. Before position: an increment
//	                   that the next run makes again; a restore takes it. After: it.
//
// # What a restore promises
//
// What the log says was destroyed is destroyed again before the ledger opens. So is what
// the register of destroyed keys in the folder of the secrets says, if that folder
// survived. What the key tree has no key of stays dead. What then can come back?
//
//	the register survived            nothing
//	the data is newer than the keys  nothing that was destroyed by the newest event in
//	                                 the data
//	the keys are newer than the data nothing that was destroyed before the snapshot; but
//	                                 the log has gone on after the data, and that is
//	                                 refused unless it is said that events may be lost;
//	                                 so it is if the folder of the secrets survived, and
//	                                 the newest checkpoints in it are newer than the data
//	neither is the newest            what was destroyed after both. Whoever restores says
//	                                 that there is none newer; the newest checkpoint that
//	                                 anybody has refuses it: a destruction is an event
//	the epoch is retired             no restore, where that is known or the clock is past
//	                                 its day; with key.age in a copy and the identity,
//	                                 age opens it without this program
//
// A key tree that is older than the data lacks keys of what is newer; that is refused too.
// A record that was destroyed between the reading of the log and that of the key tree in
// one run stays dead, without an event that says so in the restored log.
//
// # Exclusive use
//
// One ledger at a time writes to a side, and one Backups at a time to backup-epochs.
package backup
