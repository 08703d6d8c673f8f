package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDiskFull fills a small disk while the service writes to it: it answers 503
// from then on, still shows its log, and once there is room again, what it
// acknowledged is there. It is skipped where it may not mount such a disk;
// TestNoSpace needs none.
func TestDiskFull(t *testing.T) {
	for name, size := range contentSizes {
		t.Run(name, func(t *testing.T) { testDiskFull(t, size) })
	}
}

func testDiskFull(t *testing.T, size int) {
	var tr transcript
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=12m"); err != nil {
		const missing = "needs the right to mount a small file system"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatalf("%s: %v", missing, err)
		}
		t.Skipf("%s: %v", missing, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Errorf("unmounting the small file system: %v", err)
		}
	})
	dir := filepath.Join(small, "ledger")
	h, s := newHouse(t, &tr, dir)
	l := h.start(size)
	l.full(s.url)
	_ = s.end() // an error if the ledger had stopped itself, which it need not have
	if err := syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	s = tr.serve(t, dir)
	h.moved(s)
	l.check(all)
	again := h.start(size)
	again.until("more acknowledged", func() bool { return again.soFar() >= 10 })
	again.end()
	again.check(all)
	s.stop()
	tr.must(t, "medverify", "log", "--dir", dir, "--vkey", filepath.Join(dir, "log.vkey"))
}
