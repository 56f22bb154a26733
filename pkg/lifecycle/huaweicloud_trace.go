package lifecycle

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// trace is a CTS trace. Documentation and samples put the same facts in different members; the methods try all of them.
type trace map[string]any

// parse decodes a member that is JSON in a string, as CTS's API stores request, response and user. The error is a
// [*document.LimitError].
func (t trace) parse(member string, from *payload) error {
	s := strings.TrimSpace(text(t[member]))
	if !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "[") {
		return nil
	}
	v, err := from.embedded([]byte(s))
	if limit, ok := errors.AsType[*document.LimitError](err); ok {
		return limit
	}
	if err == nil { // the string may be truncated JSON
		t[member] = v
	}
	return nil
}

func (t trace) request() map[string]any  { return object(t["request"]) }
func (t trace) response() map[string]any { return object(t["response"]) }

func (t trace) subJobs() []any { return list(object(t.response()["entities"])["sub_jobs"]) }

// failed reports whether the operation failed, according to CTS's rating ("warning" is a failure, "incident" a severe
// one), the HTTP status or the job.
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

// partlySucceeded reports whether at least one job of a batch succeeded.
func (t trace) partlySucceeded() bool {
	return slices.ContainsFunc(t.subJobs(), func(job any) bool { return text(object(job)["status"]) == "SUCCESS" })
}

// pending reports whether the job is unfinished. The job states are those of
// https://support.huaweicloud.com/intl/en-us/api-ecs/ecs_02_0901.html.
func (t trace) pending() bool {
	return slices.Contains([]string{"INIT", "RUNNING", "PENDING_PAYMENT"}, text(t.response()["status"])) &&
		!t.partlySucceeded()
}

// storageMembers are the names of EVS resources in a trace's request and response.
var storageMembers = map[Kind]string{Volume: "volume", Snapshot: "snapshot"}

// ids returns the ids of the trace's resources, from the first of these places that has any: resource_id (which may be
// missing, "", {} or, for a batch, the id of something else), the job's result, the results of a batch's jobs, the
// OpenStack API's response, the servers of a batch request. If no place has an id but one has an invalid value, the
// search returns that. For a snapshot, resource_id comes last: it is undocumented whether it names the snapshot or its
// volume.
func (t trace) ids(action Action, limit int) idSearch {
	found := idSearch{limit: limit}
	response, request := t.response(), t.request()
	entities := object(response["entities"])
	if member := storageMembers[action.Kinds()[0]]; member != "" {
		if action == VolumeAttached { // resource_id names the server
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
	found.look("data.response.id", uuidOrEmpty(text(response["id"]))) // a job's id is not a UUID
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

// resourcesOfSubJobs returns the given member of each job of a batch that succeeded.
func (t trace) resourcesOfSubJobs(member string) []any {
	var ids []any
	for _, job := range t.subJobs() {
		if status := text(object(job)["status"]); status == "SUCCESS" || status == "" {
			ids = append(ids, object(object(job)["entities"])[member])
		}
	}
	return ids
}

// idSearch collects the ids from the first place that has any.
type idSearch struct {
	limit int
	ids   []string
	// invalid is the first value that is not an id, and place its path; both are "" once ids are found.
	invalid, place string
	// err is set if place has more ids than the limit.
	err *document.LimitError
}

func (s *idSearch) look(place string, candidates ...any) {
	if s.ids != nil || s.err != nil {
		return
	}
	seen := make(map[string]bool, min(len(candidates), s.limit))
	for _, v := range candidates {
		switch id := optionalID(v); {
		case isUUID(id) && !seen[id]:
			if len(s.ids) == s.limit {
				s.ids, s.place, s.err = nil, place, &document.LimitError{What: "resources", Max: s.limit}
				return
			}
			seen[id] = true
			s.ids = append(s.ids, id)
		case id != "" && !isUUID(id) && s.invalid == "":
			s.invalid, s.place = id, place
		}
	}
	if s.ids != nil {
		s.invalid, s.place = "", ""
	}
}

// requestID returns the job's id if there is one, because the traces of the request and of its result share it.
func (t trace) requestID() string {
	return cmp.Or(optionalID(t.response()["job_id"]), optionalID(t["request_id"]), optionalID(t.response()["request_id"]))
}

// time returns the first of the members that is a time in one of CTS's formats.
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

// resource returns the resource, without id and project, and its parent. single is false for a batch, whose
// resource_name does not name one server.
func (t trace) resource(action Action, service string, single bool) (Resource, Parent) {
	request, response := t.request(), t.response()
	kind := action.Kinds()[0]
	if member := storageMembers[kind]; member != "" {
		asked, made := object(request[member]), object(response[member])
		created, _ := timestamp.Parse(text(made["created_at"]))
		r := Resource{
			Kind:    kind,
			Name:    cmp.Or(text(t["resource_name"]), text(made["name"]), text(asked["name"])),
			Volume:  uuidOrEmpty(cmp.Or(text(made["volume_id"]), text(asked["volume_id"]))),
			Created: created,
		}
		switch {
		case action == VolumeAttached: // resource_name is the server's
			r.Name = ""
			return r, Parent{Kind: Server, ID: uuidOrEmpty(optionalID(t["resource_id"])), Name: text(t["resource_name"])}
		case !single:
			r.Name = ""
		}
		return r, Parent{}
	}
	server := object(request["server"])
	r := Resource{
		Kind:   kind,
		Flavor: cmp.Or(text(server["flavorRef"]), text(object(request["resize"])["flavorRef"])),
		Image:  uuidOrEmpty(text(server["imageRef"])),
		Zone:   text(server["availability_zone"]),
	}
	r.FlavorID = r.Flavor
	if service == "BMS" || strings.EqualFold(text(t["resource_type"]), "bms") {
		r.Kind = BareMetal
	}
	if single {
		r.Name = cmp.Or(text(t["resource_name"]), text(server["name"]))
	}
	return r, Parent{}
}

// actor returns the trace's user (https://support.huaweicloud.com/intl/en-us/usermanual-cts/cts_03_5113.html). Old
// traces and those of Open Telekom Cloud have no user type; there, a name "<domain>/<agency>" identifies an agency.
// System actions have no user.
func (t trace) actor() Actor {
	user := object(t["user"])
	name := cmp.Or(text(user["name"]), text(user["user_name"]))
	a := Actor{ID: cmp.Or(text(user["id"]), text(user["principal_id"])), Name: name}
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
		a.ID = cmp.Or(text(user["principal_id"]), a.ID)
	case kind == "User", kind == "ExternalUser", kind == "":
		a.Kind = User
	case strings.Contains(kind, "Service"):
		a.Kind = Service
	default:
		a.Kind = UnknownActor
	}
	return a
}
