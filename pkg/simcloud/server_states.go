package simcloud

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// vm_states of Nova (nova/compute/vm_states.py).
const (
	vmBuilding         = "building"
	vmActive           = "active"
	vmStopped          = "stopped"
	vmPaused           = "paused"
	vmSuspended        = "suspended"
	vmRescued          = "rescued"
	vmResized          = "resized"
	vmError            = "error"
	vmShelved          = "shelved"
	vmShelvedOffloaded = "shelved_offloaded"
	vmSoftDeleted      = "soft-delete"
	vmDeleted          = "deleted"
)

// server is Nova's state of a server.
type server struct {
	id, name, description string
	projectID, userID     string
	image, flavor         string
	zone                  string
	metadata              map[string]string
	tags                  []string
	vmState, taskState    string
	locked                bool
	lockedByAdmin         bool
	lockReason            string
	created, updated      time.Time
	launched, terminated  time.Time // zero if not yet
	fault                 string    // message of the error state
	faultAt               time.Time
	flavorBefore          string // before a resize that is not yet confirmed
	hostName              string // of the guest, "" if derived from the name
	userData              string
	configDrive           bool
	volumes               []string // ids, in the order of their attachments
	stoppedBefore         bool
	sequence              int
	gone                  bool
	// plan holds the scheduled steps in order of time.
	plan []step
}

// step is a scheduled change.
type step struct {
	at time.Time
	do func(*server)
}

func (s *server) key() string   { return s.id }
func (s *server) owner() string { return s.projectID }
func (s *server) number() int   { return s.sequence }

func (s *server) next() (time.Time, bool) {
	if len(s.plan) == 0 {
		return time.Time{}, false
	}
	return s.plan[0].at, true
}

// hostname returns the guest's host name.
func (s *server) hostname() string { return cmp.Or(s.hostName, hostname(s.name)) }

// settle applies the steps that are due and reports whether the server is gone.
func (s *server) settle(now time.Time) (gone bool) {
	for len(s.plan) > 0 && !s.plan[0].at.After(now) {
		next := s.plan[0]
		s.plan = s.plan[1:]
		s.updated = next.at
		next.do(s)
	}
	return s.gone
}

// schedule schedules a step.
func (s *server) schedule(at time.Time, do func(*server)) {
	s.plan = append(s.plan, step{at, do})
	slices.SortStableFunc(s.plan, func(a, b step) int { return a.at.Compare(b.at) })
}

// build schedules the steps from building to active, or to error. The task_states are Nova's, each for a share of the
// duration.
func (s *server) build(from time.Time, duration time.Duration, fails bool) {
	s.vmState, s.taskState, s.plan = vmBuilding, "scheduling", nil
	task := func(tenths int, name string) {
		s.schedule(from.Add(duration*time.Duration(tenths)/10), func(s *server) { s.taskState = name })
	}
	task(1, "")
	task(2, "networking")
	task(4, "spawning")
	s.schedule(from.Add(duration), func(s *server) {
		if fails {
			s.vmState, s.taskState, s.faultAt = vmError, "", s.updated
			s.fault = "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for " +
				"instance " + s.id + "."
			return
		}
		s.vmState, s.taskState, s.launched = vmActive, "", s.updated
	})
}

// become starts an action that ends in a vm_state.
func (s *server) become(now time.Time, duration time.Duration, task, vmState string, then func(*server)) {
	s.taskState, s.updated = task, now
	s.schedule(now.Add(duration), func(s *server) {
		s.taskState, s.vmState = "", vmState
		if then != nil {
			then(s)
		}
	})
	s.settle(now)
}

// powerState returns Nova's power_state (nova/compute/power_state.py).
func (s *server) powerState() int {
	switch s.vmState {
	case vmActive, vmRescued, vmResized:
		return 1
	case vmError:
		if !s.launched.IsZero() {
			return 1
		}
	case vmPaused:
		return 3
	case vmStopped, vmSuspended, vmShelved, vmShelvedOffloaded, vmSoftDeleted:
		return 4
	}
	return 0
}

// isStatus reports whether a word is a status of Nova, in any case.
func isStatus(word string) bool {
	return slices.Contains([]string{
		"ACTIVE",
		"BUILD",
		"SHUTOFF",
		"VERIFY_RESIZE",
		"PAUSED",
		"SUSPENDED",
		"RESCUE",
		"ERROR",
		"DELETED",
		"SOFT_DELETED",
		"SHELVED",
		"SHELVED_OFFLOADED",
		"REBOOT",
		"HARD_REBOOT",
		"RESIZE",
		"REVERT_RESIZE",
		"REBUILD",
		"MIGRATING",
		"PASSWORD",
		"UNKNOWN",
	}, strings.ToUpper(word))
}

// status returns the API's status for a vm_state and a task_state (_STATE_MAP in nova/api/openstack/common.py).
func (s *server) status() string {
	switch s.vmState {
	case vmActive:
		switch s.taskState {
		case "rebooting":
			return "REBOOT"
		case "rebooting_hard":
			return "HARD_REBOOT"
		case "resize_prep":
			return "RESIZE"
		case "rebuilding":
			return "REBUILD"
		}
		return "ACTIVE"
	case vmStopped:
		switch s.taskState {
		case "resize_prep":
			return "RESIZE"
		case "rebuilding":
			return "REBUILD"
		}
		return "SHUTOFF"
	case vmResized:
		if s.taskState == "resize_reverting" {
			return "REVERT_RESIZE"
		}
		return "VERIFY_RESIZE"
	case vmBuilding:
		return "BUILD"
	case vmPaused:
		return "PAUSED"
	case vmSuspended:
		return "SUSPENDED"
	case vmRescued:
		return "RESCUE"
	case vmError:
		return "ERROR"
	case vmDeleted:
		return "DELETED"
	case vmSoftDeleted:
		return "SOFT_DELETED"
	case vmShelved:
		return "SHELVED"
	case vmShelvedOffloaded:
		return "SHELVED_OFFLOADED"
	}
	return "UNKNOWN"
}

// hasHost reports whether the server is on a compute host.
func (s *server) hasHost() bool {
	switch s.vmState {
	case vmShelvedOffloaded:
		return false
	case vmBuilding:
		return s.taskState != "scheduling"
	}
	return s.vmState != vmError || !s.launched.IsZero()
}
