package ledger

// Passages is how many releases and histories the fence has under way.
func (l *Ledger) Passages() int {
	l.fence.mu.Lock()
	defer l.fence.mu.Unlock()
	return len(l.fence.passages)
}
