package lifecycle

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
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

func (huaweicloud) signs() []string { return []string{`"trace_name"`} }

// recognise knows a trace alone, and in {"cts": …} as FunctionGraph's CTS trigger hands it over.
func (huaweicloud) recognise(d document.Object) (*Bare, error) {
	if d.Kind("trace_name") != '"' || !d.Has("service_type") && !d.Has("trace_id") {
		if d.Kind("cts") != '{' {
			return nil, nil
		}
		var err error
		if d, err = document.Members(d.Members["cts"]); err != nil {
			return nil, fmt.Errorf("CTS trace: %w", err)
		}
	}
	for _, name := range [...]string{"service_type", "trace_name"} {
		if d.Text(name) == "" {
			return nil, fmt.Errorf("CTS trace: %s is missing", name)
		}
	}
	service, kind := strings.ToUpper(d.Text("service_type")), d.Text("trace_type")
	if kind == "" {
		kind = "Others" // EventGrid's own word
	}
	return &Bare{
		Format: "CTS trace",
		ID:     reference(d.Text("trace_id")),
		Source: "HC." + url.PathEscape(service),
		Type:   service + traceType + kind,
		Time:   d.Members["time"],
		Data:   d.Raw,
	}, nil
}

// traceType is what the types that EventGrid gives to traces have in common, such as "ECS:CloudTrace:ApiCall"
// (https://support.huaweicloud.com/intl/en-us/usermanual-eg/eg-ug-015.html; as seen for VPC, OBS and SMN). Bare traces
// become events of the same types.
const traceType = ":CloudTrace:"

func (huaweicloud) claims(eventType string) bool { return strings.Contains(eventType, traceType) }

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

func (h huaweicloud) read(e event.Event, from *payload) (Reading, error) {
	data, err := from.decode()
	if err != nil {
		return Reading{}, undecodable(h, e.Type(), "data", err)
	}
	t := trace(object(data))
	name, service := text(t["trace_name"]), strings.ToUpper(text(t["service_type"]))
	if name == "" || service == "" {
		return Reading{}, malformed(h, e.Type(), "data", "is not a CTS trace; trace_name and service_type are wanted")
	}
	label := printable(service + ":" + name)
	for _, member := range [...]string{"request", "response", "user"} {
		if err := t.parse(member, from); err != nil {
			return Reading{}, undecodable(h, label, "data."+member, err)
		}
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
	found := t.ids(action, from.limits.Changes)
	switch {
	case t.failed() && !t.partly():
		return nothing("trace " + label + " reports a failure")
	case t.pending():
		return nothing("trace " + label + " is of a job that is not done yet; its result is reported too")
	case found.err != nil:
		return Reading{}, tooLarge(h, label, found.place, found.err)
	case found.fault != "":
		return Reading{}, malformed(h, label, found.place, notUUID(found.fault))
	case len(found.ids) == 0:
		return nothing("trace " + label + " names no resource yet; its result is reported too")
	}
	project, problem := identifier(t["project_id"], isProject, notProject)
	if problem != "" {
		return Reading{}, malformed(h, label, "data.project_id", problem)
	}
	c := Change{Action: action, Actor: t.actor(), Request: t.requestID(), Data: data}
	c.Time = t.time("time", "record_time")
	if c.Time.IsZero() && !e.Time().IsZero() {
		c.Time = e.Time().UTC()
	}
	c.Resource = t.resource(action, service, len(found.ids) == 1)
	c.Resource.Project = project
	reading := Reading{Known: true, Changes: make([]Change, len(found.ids))}
	for i, id := range found.ids {
		c.Resource.ID = id
		reading.Changes[i] = c
	}
	return reading, nil
}
