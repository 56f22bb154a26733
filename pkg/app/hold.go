package app

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// WatchHold returns a function that reports whether the file exists, and with it the wish that nothing is written; nil where
// file is "". Until the context ends it says in the log when that changes.
func WatchHold(ctx context.Context, file string, log *slog.Logger) func() bool {
	if file == "" {
		return nil
	}
	h := hold{file}
	go h.watch(ctx, log)
	return h.on
}

// hold is a switch that stops writing: a file that exists, or does not.
type hold struct{ file string }

// holdInterval is how often the switch is looked at to say in the log that it has changed.
const holdInterval = 2 * time.Second

// on reports whether writing is on hold. A file that cannot be looked at counts as one that exists: the operator who put it
// there may have taken rights with it.
func (h hold) on() bool {
	_, err := os.Stat(h.file)
	return !os.IsNotExist(err)
}

// watch says in the log when the switch changes, until the context ends.
func (h hold) watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(holdInterval)
	defer ticker.Stop()
	for before := false; ; {
		if now := h.on(); now != before {
			before = now
			if now {
				log.Warn("writing is on hold; events are taken and deferred", "file", h.file)
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
