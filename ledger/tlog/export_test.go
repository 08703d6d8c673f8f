package tlog

// WithCacheTiles returns a Config whose log keeps that many full tiles in memory.
func (c Config) WithCacheTiles(n int) Config {
	c.cacheTiles = n
	return c
}
