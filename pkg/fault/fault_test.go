package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cloudtagger/tagger/pkg/fault"
)

type scoped struct{ scope fault.Scope }

func (scoped) Error() string             { return "refused" }
func (e scoped) FaultScope() fault.Scope { return e.scope }

func TestScopeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want fault.Scope
	}{
		{nil, ""},
		{errors.New("timeout"), ""},
		{scoped{fault.Project}, fault.Project},
		{fmt.Errorf("log in: %w", scoped{fault.Everything}), fault.Everything},
		{errors.Join(errors.New("timeout"), scoped{fault.Resource}), fault.Resource},
	} {
		if got := fault.ScopeOf(tt.err); got != tt.want {
			t.Errorf("ScopeOf(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
