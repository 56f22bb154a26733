package tagger

import "time"

// Time is when the change happened, zero where the event does not say.
func (p Plan) Time() time.Time { return p.change.Time }
