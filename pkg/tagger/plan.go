package tagger

import "time"

// Time returns when the change happened, zero if the event does not say.
func (p *Plan) Time() time.Time { return p.change.Time }
