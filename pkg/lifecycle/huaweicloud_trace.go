package lifecycle

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// trace is a CTS trace. Its members are read by the names and in the places that documentation and samples show.
type trace map[string]any

// parse replaces a member that is JSON in a string, as CTS's API stores request, response and user, by what it says.
// The error is a [*document.LimitError].
func (t trace) parse(member string, from *payload) error {
	s := strings.TrimSpace(text(t[member]))
	if !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "[") {
		return nil
	}
	v, err := from.embedded([]byte(s))
	if limit, ok := errors.AsType[*document.LimitError](err); ok {
		return limit
	}
	if err == nil { // traces can be cut off
		t[member] = v
	}
	return nil
}

func (t trace) request() map[string]any  { return object(t["request"]) }
func (t trace) response() map[string]any { return object(t["response"]) }

func (t trace) subJobs() []any { return list(object(t.response()["entities"])["sub_jobs"]) }

// failed reports whether the operation failed: CTS rates it so ("warning" is a failure, "incident" a grave one), the
// HTTP status says so, or the job does.
func (t trace) failed() bool {
	for _, rating := range [...]string{text(t["trace_rating"]), text(t["trace_status"])} {
		if rating == "warning" || rating == "incident" {
			return true
		}
	}
	code, ok := t["code"].(int64)
	if !ok {
		code, _ = strconv.ParseInt(text(t["code"]), 10, 64)
	}
	return code >= 400 || strings.HasPrefix(text(t.response()["status"]), "FAIL") || text(t.response()["error_code"]) != ""
}

// partly reports whether at least one job of a batch succeeded.
func (t trace) partly() bool {
	return slices.ContainsFunc(t.subJobs(), func(job any) bool { return text(object(job)["status"]) == "SUCCESS" })
}

// pending goes by the job states of https://support.huaweicloud.com/intl/en-us/api-ecs/ecs_02_0901.html.
func (t trace) pending() bool {
	return slices.Contains([]string{"INIT", "RUNNING", "PENDING_PAYMENT"}, text(t.response()["status"])) && !t.partly()
}

// storageMembers are the names that EVS gives to its kinds of resources, in a trace's request and response.
var storageMembers = map[Kind]string{Volume: "volume", Snapshot: "snapshot"}

// ids returns the ids of the resources that the trace is about, from the first of these places that names any:
// resource_id (which can be missing, "", {} or, for a batch, no resource's), the job's result, the results of a batch's
// jobs, what the OpenStack API answered, and the servers of a batch request. Where there is none but a place holds
// something else, that place is the fault. For a snapshot resource_id comes last: no documentation says whether it is
// the snapshot's or its volume's.
func (t trace) ids(action Action, limit int) idSearch {
	found := idSearch{limit: limit}
	response, request := t.response(), t.request()
	entities := object(response["entities"])
	if member := storageMembers[action.Kinds()[0]]; member != "" {
		if action == VolumeAttached { // the trace is the server's
			found.look("data.request.volumeAttachment.volumeId", object(request["volumeAttachment"])["volumeId"])
			return found
		}
		found.look("data.response.entities."+member+"_id", entities[member+"_id"])
		found.look("data.response.entities.sub_jobs", t.resourcesOfSubJobs(member+"_id")...)
		found.look("data.response."+member+".id", object(response[member])["id"])
		found.look("data.response."+member+"_id", response[member+"_id"])
		found.look("data.resource_id", t["resource_id"])
		return found
	}
	found.look("data.resource_id", t["resource_id"])
	found.look("data.response.entities.server_id", entities["server_id"])
	found.look("data.response.entities.sub_jobs", t.resourcesOfSubJobs("server_id")...)
	found.look("data.response.server.id", object(response["server"])["id"])
	found.look("data.response.server_id", response["server_id"])
	found.look("data.response.id", uuidOnly(text(response["id"]))) // may be a job's
	found.look("data.response.serverIds", list(response["serverIds"])...)
	for _, operation := range [...]any{request, request["os-start"], request["os-stop"]} {
		var asked []any
		for _, server := range list(object(operation)["servers"]) {
			asked = append(asked, object(server)["id"])
		}
		found.look("data.request.servers", asked...)
	}
	return found
}

// resourcesOfSubJobs are the ids, by the member that has them, in the jobs of a batch that succeeded.
func (t trace) resourcesOfSubJobs(member string) []any {
	var ids []any
	for _, job := range t.subJobs() {
		if status := text(object(job)["status"]); status == "SUCCESS" || status == "" {
			ids = append(ids, object(object(job)["entities"])[member])
		}
	}
	return ids
}

// idSearch looks for ids until a place has some.
type idSearch struct {
	limit int
	ids   []string
	// fault is the first other thing that was found, as long as there are no ids, and place where.
	fault, place string
	// err says that place has more ids than the limit.
	err *document.LimitError
}

func (s *idSearch) look(place string, candidates ...any) {
	if s.ids != nil || s.err != nil {
		return
	}
	seen := make(map[string]bool, min(len(candidates), s.limit))
	for _, v := range candidates {
		switch id := reference(v); {
		case isUUID(id) && !seen[id]:
			if len(s.ids) == s.limit {
				s.ids, s.place, s.err = nil, place, &document.LimitError{What: "resources", Max: s.limit}
				return
			}
			seen[id] = true
			s.ids = append(s.ids, id)
		case id != "" && !isUUID(id) && s.fault == "":
			s.fault, s.place = id, place
		}
	}
	if s.ids != nil {
		s.fault, s.place = "", ""
	}
}

// requestID is the job's id where there is one: the request's trace and the result's both have it.
func (t trace) requestID() string {
	return first(reference(t.response()["job_id"]), reference(t["request_id"]), reference(t.response()["request_id"]))
}

// time reads the first of the members that holds one, in any of the forms that CTS writes.
func (t trace) time(members ...string) time.Time {
	for _, name := range members {
		switch v := t[name].(type) {
		case int64:
			if at, ok := timestamp.Unix(v); ok {
				return at
			}
		case string:
			if at, ok := timestamp.Parse(v); ok {
				return at
			}
		}
	}
	return time.Time{}
}

// resource is what the trace says of a resource besides its id and project, and of its parent. A batch's resource_name
// is not one server's.
func (t trace) resource(action Action, service string, single bool) (Resource, Parent) {
	request, response := t.request(), t.response()
	kind := action.Kinds()[0]
	if member := storageMembers[kind]; member != "" {
		asked, made := object(request[member]), object(response[member])
		created, _ := timestamp.Parse(text(made["created_at"]))
		r := Resource{
			Kind:    kind,
			Name:    first(text(t["resource_name"]), text(made["name"]), text(asked["name"])),
			Volume:  uuidOnly(first(text(made["volume_id"]), text(asked["volume_id"]))),
			Created: created,
		}
		switch {
		case action == VolumeAttached: // the trace's name is the server's
			r.Name = ""
			return r, Parent{Kind: Server, ID: uuidOnly(reference(t["resource_id"])), Name: text(t["resource_name"])}
		case !single:
			r.Name = ""
		case r.Volume != "":
			return r, Parent{Kind: Volume, ID: r.Volume}
		}
		return r, Parent{}
	}
	server := object(request["server"])
	r := Resource{
		Kind:   kind,
		Flavor: first(text(server["flavorRef"]), text(object(request["resize"])["flavorRef"])),
		Image:  uuidOnly(text(server["imageRef"])),
		Zone:   text(server["availability_zone"]),
	}
	r.FlavorID = r.Flavor
	if service == "BMS" || strings.EqualFold(text(t["resource_type"]), "bms") {
		r.Kind = BareMetal
	}
	if single {
		r.Name = first(text(t["resource_name"]), text(server["name"]))
	}
	return r, Parent{}
}

// actor is the trace's user (https://support.huaweicloud.com/intl/en-us/usermanual-cts/cts_03_5113.html). Its type is
// missing in Open Telekom Cloud's traces and old ones; an agency's name, "<domain>/<agency>", gives it away. The
// system's own actions have no user.
func (t trace) actor() Actor {
	user := object(t["user"])
	name := first(text(user["name"]), text(user["user_name"]))
	a := Actor{ID: first(text(user["id"]), text(user["principal_id"])), Name: name}
	if a == (Actor{}) {
		if text(t["trace_type"]) == "SystemAction" {
			a.Kind = Service
		}
		return a
	}
	domain := text(object(user["domain"])["name"])
	switch kind := text(user["type"]); {
	case kind == "AssumedAgency", kind == "" && domain != "" && strings.HasPrefix(name, domain+"/"):
		a.Kind = Agency
		a.ID = first(text(user["principal_id"]), a.ID)
	case kind == "User", kind == "ExternalUser", kind == "":
		a.Kind = User
	case strings.Contains(kind, "Service"):
		a.Kind = Service
	default:
		a.Kind = UnknownActor
	}
	return a
}
