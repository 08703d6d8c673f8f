package ledger

// Passages is how many releases and histories the fence has under way.
func (l *Ledger) Passages() int {
	l.fence.mu.Lock()
	defer l.fence.mu.Unlock()
	return len(l.fence.passages)
}

// Ed25519Key is ed25519Key.
var Ed25519Key = ed25519Key
