package lifecycle

import (
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// huaweicloud reads the traces of Huawei Cloud's and Open Telekom Cloud's Cloud Trace Service (CTS), which EventGrid
// and FunctionGraph's CTS trigger hand over
// (https://support.huaweicloud.com/intl/en-us/usermanual-cts/cts_03_0010.html). The event's data is the trace.
//
// Documentation and samples disagree about the types of most fields; all of what they say is read. An asynchronous
// operation leaves two traces of one name, minutes apart, the request's and the result's; delivery is at least once.
type huaweicloud struct {
	types map[string]Action
}

func (huaweicloud) name() string { return "huaweicloud" }

// claims goes by the type that EventGrid gives to traces, and ingress to bare ones: "ECS:CloudTrace:ApiCall".
func (huaweicloud) claims(e event.Event) bool { return strings.Contains(e.Type(), ":CloudTrace:") }

// traceAction is the change that a trace reports, going by the documented trace names, by service:
// https://support.huaweicloud.com/intl/en-us/usermanual-ecs/ecs_03_1101.html (createSingleServer, the name of the job,
// is in CTS's own example),
// https://docs.otc.t-systems.com/bare-metal-server/umn/auditing_of_key_operations/bms_operations_recorded_by_cts.html.
// No documentation lists traces of EVS snapshots: those two names are what the API's operations are called, and
// unverified.
func traceAction(service, name string) Action {
	switch service + ":" + name {
	case "ECS:createServer", "ECS:createServerV2", "ECS:createServerV21", "ECS:createSingleServer", "BMS:createBareMetalServers":
		return ServerCreated
	case "ECS:startServer", "BMS:startBareMetalServers":
		return ServerStarted
	case "ECS:stopServer", "BMS:stopBareMetalServers":
		return ServerStopped
	case "ECS:resizeServer":
		return ServerResized
	case "ECS:deleteServer", "ECS:deleteServerV2", "ECS:deleteServerV21", "ECS:deleteVmByNative", "BMS:deleteBareMetalServers":
		return ServerDeleted
	case "EVS:createSnapshot":
		return SnapshotCreated
	case "EVS:deleteSnapshot":
		return SnapshotDeleted
	}
	return ""
}

// asksNothing reports whether a trace is a documented one that reports no change. The metadata traces are our own
// doing, as often as not. Any other trace is unknown, so that a name we should know and do not is noticed.
func asksNothing(service, name string) bool {
	switch service {
	case "ECS":
		return slices.Contains([]string{
			"rebootServer", "addNic", "deleteNic", "delNic", "attachVolume", "attachVolumeV2", "attachVolume2", "detachVolume",
			"reinstallOs", "reinstallOsV2", "reInitOs", "changeOs", "changeOsV2", "addAutoRecovery", "deleteAutoRecovery",
			"updateMetadata", "setMetadata", "deleteMetadata", "updateMetadataAndServerAgency", "updateServerAgency",
			"dealUnifiedTags", "remoteConsole", "interruptServer",
		}, name)
	case "BMS":
		return name == "rebootBareMetalServers"
	case "EVS":
		return slices.Contains([]string{
			"createVolume", "updateVolume", "extendVolume", "deleteVolume", "batchCreateVolume", "bulkDeleteVolume", "retypeVolume",
			"prepareForStopServer", "cleanupEvsResources", "cleanupSingleEvsResource", "updateVolumesBusinessStatus",
			"freezeVolume", "unfreezeVolume", "releaseVolume", "createVolumeTag",
		}, name)
	}
	return false
}

func (h huaweicloud) read(e event.Event, data any) (Reading, error) {
	t := trace(object(data))
	name, service := text(t["trace_name"]), strings.ToUpper(text(t["service_type"]))
	if name == "" || service == "" {
		return Reading{}, malformed(h, e.Type(), "data", "is not a CTS trace; trace_name and service_type are wanted")
	}
	label := printable(service + ":" + name)
	for _, member := range [...]string{"request", "response", "user"} {
		t.parse(member)
	}
	action, ok := h.types[service+":"+name]
	if !ok {
		action, ok = h.types[name]
	}
	if !ok {
		action = traceAction(service, name)
	}
	switch {
	case action == "" && asksNothing(service, name):
		return nothing("trace " + label + " changes nothing that rules act on")
	case action == "":
		return Reading{Why: "trace " + label + " is not one that is read; TAGGER_EVENT_TYPES can map it to an action"}, nil
	}
	ids, fault, place := t.ids(action)
	switch {
	case t.failed() && !t.partly():
		return nothing("trace " + label + " reports a failure")
	case t.pending():
		return nothing("trace " + label + " is of a job that is not done yet; its result is reported too")
	case fault != "":
		return Reading{}, malformed(h, label, place, notUUID(fault))
	case len(ids) == 0:
		return nothing("trace " + label + " names no resource yet; its result is reported too")
	}
	project := text(t["project_id"])
	if project != "" && !isProject(project) {
		return Reading{}, malformed(h, label, "data.project_id", notProject(project))
	}
	c := Change{Action: action, Actor: t.actor(), Request: t.requestID(), Data: data}
	c.Time = t.time("time", "record_time")
	if c.Time.IsZero() && !e.Time().IsZero() {
		c.Time = e.Time().UTC()
	}
	reading := Reading{Known: true}
	for _, id := range ids {
		c.Resource = t.resource(action, service, len(ids) == 1)
		c.Resource.ID, c.Resource.Project = id, project
		reading.Changes = append(reading.Changes, c)
	}
	return reading, nil
}
