package delivery

import "github.com/cloudtagger/tagger/pkg/tagger"

// Resources returns the resources that the message's changes may write to.
func (p Plan) Resources() []tagger.ResourceRef {
	var all []tagger.ResourceRef
	for _, c := range p.changes {
		if c.failure == "" && c.plan.Pending() && c.plan.Resource.ID != "" {
			all = append(all, c.plan.Resource)
		}
	}
	return all
}
