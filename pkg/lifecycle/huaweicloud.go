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
// and FunctionGraph's CTS trigger deliver
// (https://support.huaweicloud.com/intl/en-us/usermanual-cts/cts_03_0010.html). The event's data is the trace.
//
// Documentation and samples disagree about the types of most fields, so all documented types are accepted. An
// asynchronous operation leaves two traces with the same name, minutes apart: one of the request, one of the result.
// Delivery is at least once.
type huaweicloud struct {
	types map[string]Action
}

func (huaweicloud) name() string { return "huaweicloud" }

func (huaweicloud) markers() []string { return []string{`"trace_name"`} }

func (huaweicloud) format() string { return "CTS trace" }

// recognise accepts a bare trace, and one in {"cts": …}, as FunctionGraph's CTS trigger delivers it.
func (h huaweicloud) recognise(d document.Object) (*NativeEvent, error) {
	if d.Kind("trace_name") != '"' || !d.Has("service_type") && !d.Has("trace_id") {
		if d.Kind("cts") != '{' {
			return nil, nil
		}
		var err error
		if d, err = document.Members(d.Member("cts")); err != nil {
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
		kind = "Others" // EventGrid's own term
	}
	return &NativeEvent{
		Format: h.format(),
		ID:     optionalID(d.Text("trace_id")),
		Source: "HC." + url.PathEscape(service),
		Type:   service + traceType + kind,
		Time:   d.Member("time"),
		Data:   d.Raw,
	}, nil
}

// traceType is the common part of EventGrid's types for traces, such as "ECS:CloudTrace:ApiCall"
// (https://support.huaweicloud.com/intl/en-us/usermanual-eg/eg-ug-015.html; observed for VPC, OBS and SMN). Bare traces
// become events of the same types.
const traceType = ":CloudTrace:"

func (huaweicloud) claims(eventType string) bool { return strings.Contains(eventType, traceType) }

// traceActions maps service and trace name to the action. The names are documented:
// https://support.huaweicloud.com/intl/en-us/usermanual-ecs/ecs_03_1101.html (createSingleServer, the name of the job,
// is in CTS's own example),
// https://docs.otc.t-systems.com/bare-metal-server/umn/auditing_of_key_operations/bms_operations_recorded_by_cts.html.
// Traces of EVS snapshots are undocumented: those two names are the API's operation names, and unverified.
var traceActions = map[string]Action{
	"ECS:createServer": ServerCreated, "ECS:createServerV2": ServerCreated, "ECS:createServerV21": ServerCreated,
	"ECS:createSingleServer": ServerCreated, "BMS:createBareMetalServers": ServerCreated,
	"ECS:startServer": ServerStarted, "BMS:startBareMetalServers": ServerStarted,
	"ECS:stopServer": ServerStopped, "BMS:stopBareMetalServers": ServerStopped,
	"ECS:resizeServer": ServerResized,
	"ECS:deleteServer": ServerDeleted, "ECS:deleteServerV2": ServerDeleted, "ECS:deleteServerV21": ServerDeleted,
	"ECS:deleteVmByNative": ServerDeleted, "BMS:deleteBareMetalServers": ServerDeleted,
	"EVS:createVolume": VolumeCreated, "EVS:batchCreateVolume": VolumeCreated, "EVS:extendVolume": VolumeResized,
	"EVS:deleteVolume": VolumeDeleted, "EVS:bulkDeleteVolume": VolumeDeleted,
	"ECS:attachVolume": VolumeAttached, "ECS:attachVolumeV2": VolumeAttached, "ECS:attachVolume2": VolumeAttached,
	"EVS:createSnapshot": SnapshotCreated, "EVS:deleteSnapshot": SnapshotDeleted,
}

// traceNonChanges are the documented traces, by service, that report no change that rules act on. Tagger's own writes
// cause many of the metadata traces. A trace in neither table is reported as unknown, so that new names are noticed.
// The manuals of Huawei Cloud and Open Telekom Cloud:
//
//   - ECS: https://support.huaweicloud.com/intl/en-us/usermanual-ecs/ecs_03_1101.html,
//     https://docs.otc.t-systems.com/elastic-cloud-server/umn/audit_using_cts/key_operations_supported_by_cts.html
//   - BMS: https://support.huaweicloud.com/usermanual-bms/bms_01_0083.html
//   - EVS: https://support.huaweicloud.com/en-us/usermanual-evs/evs_01_0046.html,
//     https://docs.otc.t-systems.com/elastic-volume-service/umn/faq/general/what_does_the_reservevolume_trace_mean_in_cts.html
var traceNonChanges = map[string][]string{
	"ECS": {
		"rebootServer", "updateServer", "migrateServer", "interruptServer", "remoteConsole",
		"reinstallOs", "reinstallOsV2", "reInitOs", "changeOs", "changeOsV2",
		"addNic", "deleteNic", "delNic",
		"detachVolume",
		"addAutoRecovery", "deleteAutoRecovery",
		"updateMetadata", "setMetadata", "deleteMetadata", "updateMetadataAndServerAgency", "updateServerAgency",
		"dealUnifiedTags",
		"createSecurityGroup", "updateSecurityGroup", "addSecurityGroup", "removeSecurityGroup", "createSgRule",
		"deleteSgRule",
		"createFloatingIp", "deleteFloatingIp",
		"createFpgaImage", "deleteFpgaImage", "associateFpgaImage", "disassociateFpgaImage", "registerFpgaImage",
	},
	"BMS": {"rebootBareMetalServers", "attachDataVolume", "detachDataVolume"},
	"EVS": {
		"updateVolume", "retypeVolume",
		"reserveVolume", "prepareForStopServer", "cleanupEvsResources", "cleanupSingleEvsResource",
		"updateVolumesBusinessStatus",
		"freezeVolume", "unfreezeVolume", "releaseVolume", "createVolumeTag",
	},
}

func (h huaweicloud) read(e event.Event, from *payload) (Reading, error) {
	data, err := from.decode()
	if err != nil {
		return Reading{}, undecodable(h, e.Type(), "data", err)
	}
	t := trace(object(data))
	name, service := text(t["trace_name"]), strings.ToUpper(text(t["service_type"]))
	if name == "" || service == "" {
		return Reading{}, malformed(h, e.Type(), "data", "is not a CTS trace; want trace_name and service_type")
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
		action = traceActions[service+":"+name]
	}
	switch {
	case action == "" && slices.Contains(traceNonChanges[service], name):
		return noChange("trace " + label + " changes nothing that rules act on")
	case action == "":
		return Reading{Why: "trace " + label + " is unknown; TAGGER_EVENT_TYPES can map it to an action"}, nil
	}
	found := t.ids(action, from.limits.Changes)
	switch {
	case t.failed() && !t.partlySucceeded():
		return noChange("trace " + label + " reports a failure")
	case t.pending():
		return noChange("trace " + label + " is of an unfinished job; a later trace reports its result")
	case found.err != nil:
		return Reading{}, tooLarge(h, label, found.place, found.err)
	case found.invalid != "":
		return Reading{}, malformed(h, label, found.place, notUUID(found.invalid))
	case len(found.ids) == 0:
		return noChange("trace " + label + " names no resource yet; a later trace reports its result")
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
	c.Resource, c.Parent = t.resource(action, service, len(found.ids) == 1)
	c.Resource.Project = project
	reading := Reading{Known: true, Changes: make([]Change, len(found.ids))}
	for i, id := range found.ids {
		c.Resource.ID = id
		reading.Changes[i] = c
	}
	return reading, nil
}
