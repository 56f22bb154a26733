package app

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// WatchHold returns a function that reports whether the file exists, which puts writing on hold. It returns nil if file
// is "". Until the context ends, it logs each change.
func WatchHold(ctx context.Context, file string, log *slog.Logger) func() bool {
	if file == "" {
		return nil
	}
	h := hold{file}
	go h.watch(ctx, log)
	return h.on
}

// hold is a switch that stops writing while a file exists.
type hold struct{ file string }

// holdInterval is how often to check for changes to log.
const holdInterval = 2 * time.Second

// on reports whether writing is on hold. A file that cannot be checked counts as existing, because the operator may
// have created it without the necessary permissions.
func (h hold) on() bool {
	_, err := os.Stat(h.file)
	return !os.IsNotExist(err)
}

// watch logs changes of the switch until the context ends.
func (h hold) watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(holdInterval)
	defer ticker.Stop()
	for before := false; ; {
		if now := h.on(); now != before {
			before = now
			if now {
				log.Warn("writing is on hold; events are accepted and deferred", "file", h.file)
			} else {
				log.Info("writing is no longer on hold")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
