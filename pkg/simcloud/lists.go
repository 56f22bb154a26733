package simcloud

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPage is the largest page of a list: max_limit of Nova, osapi_max_limit of Cinder.
const maxPage = 1000

// comparison orders two resources by one of their members.
type comparison[T resource] func(a, b T) int

// sorting is an order of a list other than the default, newest first.
type sorting[T resource] struct {
	by []comparison[T] // the first that differs decides
}

func (s sorting[T]) compare(a, b T) int {
	for _, by := range s.by {
		if n := by(a, b); n != 0 {
			return n
		}
	}
	return 0
}

// reversed returns the reverse order.
func reversed[T resource](c comparison[T]) comparison[T] { return func(a, b T) int { return c(b, a) } }

// page returns at most limit matching resources after a marker, the zero value for none. In the default order it stops
// once the page is full; other orders read all resources.
func page[T resource](lists []*ordered[T], order *sorting[T], marker T, skip, limit int, fits func(T) bool) []T {
	var none T
	var out []T
	if order == nil {
		than := 0
		if marker != none {
			than = marker.number()
		}
		for t := range newest(than, lists...) {
			if len(out) == limit {
				break
			}
			if !fits(t) {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			out = append(out, t)
		}
		return out
	}
	for t := range newest(0, lists...) {
		if fits(t) && (marker == none || order.compare(t, marker) > 0) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, order.compare)
	out = out[min(skip, len(out)):]
	return out[:min(limit, len(out))]
}

// parameter is one parameter of a query.
type parameter struct{ name, value string }

// parameters returns the query's parameters in their order.
func (r *request) parameters() []parameter {
	var list []parameter
	for pair := range strings.SplitSeq(r.rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err == nil && err2 == nil && n != "" {
			list = append(list, parameter{n, v})
		}
	}
	return list
}

// nextLink is the link to a list's next page. Nova sorts the parameters, Cinder has the marker at the end.
func (r *request) nextLink(marker string) []object {
	list := r.parameters()
	if r.service == serviceCompute {
		slices.SortStableFunc(
			list,
			func(a, b parameter) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value)) },
		)
		var once []parameter // the last value of a name, in the place of the first
		for _, p := range list {
			if i := slices.IndexFunc(once, func(q parameter) bool { return q.name == p.name }); i >= 0 {
				once[i] = p
			} else {
				once = append(once, p)
			}
		}
		list = once
		if i := slices.IndexFunc(list, func(p parameter) bool { return p.name == "marker" }); i >= 0 {
			list[i].value = marker
		} else {
			list = append(list, parameter{"marker", marker})
		}
	} else {
		list = append(
			slices.DeleteFunc(list, func(p parameter) bool { return p.name == "marker" }),
			parameter{"marker", marker},
		)
	}
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return []object{{{"rel", "next"}, {"href", r.base + r.fullPath + "?" + b.String()}}}
}

// linkOwnProject adds the caller's project to links if its id is anywhere in the request's URL, as Nova does.
func (r *request) linkOwnProject() {
	if own := r.who.project.ID; r.projectInURL == "" && own != "" && strings.Contains(r.rawQuery, own) {
		r.projectInURL = own
		r.linkPrefix += "/" + own
		r.fullPath = strings.Replace(r.fullPath, "/servers", "/"+own+"/servers", 1)
	}
}

// detailed reports whether the request lists resources in detail.
func (r *request) detailed() bool { return strings.HasSuffix(cutFormat(r.path), "/detail") }

// listServers handles GET /servers and GET /servers/detail.
func (c *Cloud) listServers(r *request) *response {
	if refused := r.checkServerQuery(); refused != nil {
		return refused
	}
	filter, withDeleted, refused := r.serverFilter()
	if refused != nil {
		return refused
	}
	if filter == nil {
		return r.json(http.StatusOK, object{{"servers", []object{}}})
	}
	flag := strings.ToLower(r.query.Get("all_tenants"))
	all := parseBool(flag) || r.query.Has("all_tenants") && flag == "" // as Nova parses a flag without a value
	if flag != "" && !all && !slices.Contains([]string{"0", "f", "false", "n", "no", "off"}, flag) {
		return r.badRequest(
			"Unrecognized value '%s', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', "+
				"'on', 't', 'true', 'y', 'yes'",
			r.query.Get("all_tenants"),
		)
	}
	if all && !r.who.admin() {
		action := "index"
		if r.detailed() {
			action = "detail"
		}
		return r.forbidden("Policy doesn't allow os_compute_api:servers:%s:get_all_tenants to be performed.", action)
	}
	for _, direction := range r.query["sort_dir"] {
		if direction != "asc" && direction != "desc" {
			return r.badRequest("Invalid input received: Unknown sort direction, must be 'desc' or 'asc'")
		}
	}
	limit := maxPage
	if all := r.query["limit"]; len(all) > 0 { // the last one counts
		if n, err := strconv.Atoi(all[len(all)-1]); err == nil {
			limit = min(n, limit)
		}
	}
	r.linkOwnProject()
	project := r.who.project.ID
	if all {
		if asked := cmp.Or(r.query.Get("project_id"), r.query.Get("tenant_id")); asked != "" {
			project, all = asked, false
		}
	}
	var marker *server
	if id := r.query.Get("marker"); id != "" {
		if marker = c.servers.get(id); marker == nil {
			marker = c.deleted.get(id)
		}
		if marker == nil || !r.who.sees(marker.projectID) {
			return r.badRequest("marker [%s] not found", id)
		}
	}
	lists := []*ordered[*server]{c.servers.in(project, all)}
	if withDeleted {
		lists = append(lists, c.deleted.in(project, all))
	}
	servers := page(lists, serverSorting(r.query["sort_key"], r.query["sort_dir"]), marker, 0, limit, filter)
	views := []object{}
	for _, s := range servers {
		if r.detailed() {
			views = append(views, c.serverView(r, s, true))
		} else {
			views = append(views, object{{"id", s.id}, {"name", s.name}, {"links", r.serverLinks(s)}})
		}
	}
	answer := object{{"servers", views}}
	if len(servers) == limit && limit > 0 {
		answer = append(answer, member{"servers_links", r.nextLink(servers[limit-1].id)})
	}
	return r.json(http.StatusOK, answer)
}

// serverSortKeys are Nova's sort keys (VALID_SORT_KEYS of nova/api/openstack/compute/schemas/servers.py). The value is
// nil for members that are equal on all servers here.
func serverSortKeys() map[string]comparison[*server] {
	text := func(of func(*server) string) comparison[*server] {
		return func(a, b *server) int { return cmp.Compare(strings.ToLower(of(a)), strings.ToLower(of(b))) }
	}
	moment := func(of func(*server) time.Time) comparison[*server] {
		return func(a, b *server) int { return of(a).Truncate(time.Second).Compare(of(b).Truncate(time.Second)) }
	}
	keys := map[string]comparison[*server]{
		"availability_zone": text(func(s *server) string { return s.zone }),
		// Newer servers have a higher number: Nova's times have seconds only.
		"created_at":          func(a, b *server) int { return cmp.Compare(a.sequence, b.sequence) },
		"display_description": text(func(s *server) string { return s.description }),
		"display_name":        text(func(s *server) string { return s.name }),
		"hostname":            text(func(s *server) string { return s.hostname() }),
		"image_ref":           text(func(s *server) string { return s.image }),
		"launched_at":         moment(func(s *server) time.Time { return s.launched }),
		"project_id":          text(func(s *server) string { return s.projectID }),
		"task_state":          text(func(s *server) string { return s.taskState }),
		"terminated_at":       moment(func(s *server) time.Time { return s.terminated }),
		"updated_at":          moment(func(s *server) time.Time { return s.updated }),
		"user_id":             text(func(s *server) string { return s.userID }),
		"uuid":                text(func(s *server) string { return s.id }),
		"vm_state":            text(func(s *server) string { return s.vmState }),
		"power_state":         func(a, b *server) int { return cmp.Compare(a.powerState(), b.powerState()) },
		"instance_type_id":    text(func(s *server) string { return s.flavor }),
	}
	for _, name := range []string{
		"access_ip_v4", "access_ip_v6", "auto_disk_config", "config_drive", "host", "kernel_id", "key_name",
		"launch_index", "locked_by", "node", "progress",
		"ramdisk_id", "root_device_name",
	} {
		keys[name] = nil
	}
	return keys
}

// serverSorting returns the order for sort_key and sort_dir, nil for the default.
func serverSorting(keys, directions []string) *sorting[*server] {
	known := serverSortKeys()
	first := "desc"
	if len(directions) > 0 {
		first = directions[0]
	}
	if len(keys) == 0 && first == "desc" {
		return nil
	}
	if len(keys) == 0 {
		keys = []string{"created_at"}
	}
	var order sorting[*server]
	for i, key := range keys {
		direction := first
		if i < len(directions) {
			direction = directions[i]
		}
		if by := known[key]; by != nil && direction == "desc" {
			order.by = append(order.by, reversed(by))
		} else if by != nil {
			order.by = append(order.by, by)
		}
	}
	youth := known["created_at"]
	if first == "desc" {
		youth = reversed(youth)
	}
	order.by = append(order.by, youth)
	return &order
}

// checkServerQuery checks the query as Nova's schema does.
func (r *request) checkServerQuery() *response {
	invalid := func(name, value, what string) *response {
		return r.badRequest("Invalid input for query parameters %s. Value: %s. %s", name, value, what)
	}
	for _, name := range []string{"limit", "offset"} {
		for _, value := range r.query[name] {
			if strings.Trim(value, "0123456789") != "" {
				return invalid(name, value, quoteRepr(value)+" does not match '^[0-9]*$'")
			}
		}
	}
	for _, name := range []string{"changes-since", "changes-before"} {
		if name == "changes-before" && !r.version.atLeast(2, 66) {
			continue
		}
		for _, value := range r.query[name] {
			if _, ok := isoTime(value); !ok {
				return invalid(name, value, quoteRepr(value)+" is not a 'date-time'")
			}
		}
	}
	known := serverSortKeys()
	for _, key := range r.query["sort_key"] {
		if _, ok := known[key]; !ok {
			return invalid("sort_key", key, quoteRepr(key)+" is not one of "+sortKeysRepr)
		}
	}
	if r.version.atLeast(2, 75) {
		return r.checkUnknownParameters()
	}
	return nil
}

// sortKeysRepr lists the sort keys as Nova's error does.
const sortKeysRepr = "" +
	"['access_ip_v4', 'access_ip_v6', 'auto_disk_config', 'availability_zone', 'config_drive', 'created_at', " +
	"'display_description', 'display_name', 'host', 'hostname', 'image_ref', 'instance_type_id', 'kernel_id', " +
	"'key_name', 'launch_index', 'launched_at', 'locked_by', 'node', 'power_state', 'progress', 'project_id', " +
	"'ramdisk_id', 'root_device_name', 'task_state', 'terminated_at', 'updated_at', 'user_id', 'uuid', " +
	"'vm_state', 'architecture', 'cell_name', 'cleaned', 'default_ephemeral_device', 'default_swap_device', " +
	"'deleted', 'deleted_at', 'disable_terminate', 'ephemeral_gb', 'ephemeral_key_uuid', 'id', 'key_data', " +
	"'launched_on', 'locked', 'memory_mb', 'os_type', 'reservation_id', 'root_gb', 'shutdown_terminate', " +
	"'user_data', 'vcpus', 'vm_mode']"

// serverParameters are the filters of a list of servers.
var serverParameters = []string{
	"user_id",
	"project_id",
	"tenant_id",
	"launch_index",
	"image_ref",
	"image",
	"kernel_id",
	"ramdisk_id",
	"hostname",
	"key_name",
	"power_state",
	"vm_state",
	"task_state",
	"host",
	"node",
	"flavor",
	"reservation_id",
	"launched_at",
	"terminated_at",
	"availability_zone",
	"name",
	"display_name",
	"description",
	"display_description",
	"locked_by",
	"uuid",
	"root_device_name",
	"config_drive",
	"access_ip_v4",
	"access_ip_v6",
	"auto_disk_config",
	"progress",
	"sort_key",
	"sort_dir",
	"all_tenants",
	"soft_deleted",
	"deleted",
	"status",
	"changes-since",
	"changes-before",
	"ip",
	"ip6",
	"created_at",
	"limit",
	"marker",
	"tags",
	"tags-any",
	"not-tags",
	"not-tags-any",
	"locked",
}

func (r *request) checkUnknownParameters() *response {
	var unknown []string
	for name := range r.query {
		if !slices.Contains(serverParameters, name) {
			unknown = append(unknown, quoteRepr(name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	verb := "does"
	if len(unknown) > 1 {
		verb = "do"
	}
	return r.badRequest("%s %s not match any of the regexes: '^_'", strings.Join(unknown, ", "), verb)
}

// isoTime parses a time as Nova does.
func isoTime(text string) (time.Time, bool) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05", "2006-01-02",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// serverFilter returns the query's filter, nil if nothing can match, and whether deleted servers are included. Source:
// _get_servers of nova/api/openstack/compute/servers.py.
func (r *request) serverFilter() (filter func(*server) bool, withDeleted bool, refused *response) {
	q := r.query
	admin := r.who.admin()
	var tests []func(*server) bool
	test := func(f func(*server) bool) { tests = append(tests, f) }
	deleted := false
	if statuses := q["status"]; len(statuses) > 0 {
		known := slices.DeleteFunc(slices.Clone(statuses), func(s string) bool { return !isStatus(s) })
		switch {
		case len(known) == 0 && r.version.atLeast(2, 38):
			return nil, false, r.badRequest("Invalid status value")
		case len(known) == 0:
			return nil, false, nil
		case len(known) == 1 && strings.EqualFold(known[0], "deleted") && !admin:
			return nil, false, r.forbidden("Only administrators may list deleted instances")
		case len(known) == 1 && strings.EqualFold(known[0], "deleted"):
			deleted = true
		}
		test(func(s *server) bool {
			return slices.ContainsFunc(known, func(v string) bool { return strings.EqualFold(v, s.status()) })
		})
	}
	if since, ok := isoTime(q.Get("changes-since")); ok {
		deleted = true
		test(func(s *server) bool { return !s.updated.Before(since) })
	}
	if before, ok := isoTime(q.Get("changes-before")); ok && r.version.atLeast(2, 66) {
		deleted = true
		test(func(s *server) bool { return !s.updated.After(before) })
	}
	if admin && q.Has("deleted") {
		deleted = parseBool(q.Get("deleted"))
		test(func(s *server) bool { return (s.vmState == vmDeleted) == deleted })
	}
	if !deleted {
		test(func(s *server) bool { return s.vmState != vmDeleted })
	}
	matching := func(name string, of func(*server) string) {
		if pattern := q.Get(name); pattern != "" {
			re, err := regexp.Compile("(?i)" + pattern) // the database matches regular expressions
			test(func(s *server) bool { return err == nil && re.MatchString(of(s)) })
		}
	}
	equal := func(name string, of func(*server) string) {
		if value := q.Get(name); value != "" {
			test(func(s *server) bool { return strings.EqualFold(value, of(s)) })
		}
	}
	matching("name", func(s *server) string { return s.name })
	equal("image", func(s *server) string { return s.image })
	equal("flavor", func(s *server) string { return s.flavor })
	if ip := q.Get("ip"); ip != "" {
		test(func(*server) bool { return false })
	}
	// Members may use these from 2.83 on; before, Nova ignores them.
	if admin || r.version.atLeast(2, 83) {
		equal("vm_state", func(s *server) string { return s.vmState })
		equal("task_state", func(s *server) string { return s.taskState })
		equal("user_id", func(s *server) string { return s.userID })
		matching("availability_zone", func(s *server) string { return s.zone })
	}
	if admin {
		equal("uuid", func(s *server) string { return s.id })
		matching("hostname", func(s *server) string { return s.hostname() })
	}
	return func(s *server) bool {
		for _, t := range tests {
			if !t(s) {
				return false
			}
		}
		return true
	}, deleted, nil
}

// cinderList is the parsed query of a list of volumes or snapshots.
type cinderList struct {
	limit, offset int
	project       string
	all           bool
	count         bool // whether the total is requested
	none          bool // whether nothing can match
}

// cinderList parses the query of a list of volumes or snapshots with the given filters.
// Source: cinder/api/v3/volumes.py and snapshots.py, cinder/api/common.py.
func (r *request) cinderList(filters []string) (cinderList, *response) {
	l := cinderList{limit: maxPage, project: r.who.project.ID}
	for name, to := range map[string]*int{"limit": &l.limit, "offset": &l.offset} {
		if !r.query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(r.query.Get(name))
		switch {
		case err == nil && n < 0 && name == "offset":
			return l, r.badRequest("offset must be >= 0")
		case err != nil:
			return l, r.badRequest("%s param must be an integer", name)
		case n < 0:
			return l, r.badRequest("%s param must be positive", name)
		}
		*to = n
	}
	l.limit = min(l.limit, maxPage)
	if r.version.atLeast(3, 45) && r.query.Has("with_count") {
		var refused *response
		if l.count, refused = r.flag("with_count"); refused != nil {
			return l, refused
		}
	}
	known := append(
		[]string{
			"limit",
			"offset",
			"marker",
			"sort",
			"sort_key",
			"sort_dir",
			"all_tenants",
			"project_id",
			"changes-since",
		},
		filters...)
	if r.version.atLeast(3, 45) {
		known = append(known, "with_count")
	}
	var unknown []string
	for _, p := range r.parameters() {
		if !slices.Contains(known, p.name) {
			unknown = append(unknown, p.name)
		}
	}
	switch {
	case len(unknown) > 0 && r.who.admin():
		l.none = true // Cinder passes an administrator's filters to the database, which has no such column
	case len(unknown) > 0 && r.version.atLeast(3, 31):
		return l, r.badRequest("Invalid filters %s are found in query options.", strings.Join(unknown, ","))
	}
	if r.who.admin() {
		if l.all = r.trueParameter("all_tenants"); l.all && r.query.Has("project_id") {
			l.project, l.all = r.query.Get("project_id"), false
		}
	}
	return l, nil
}

// cinderSorting parses the query's order by one of the keys; nil is the default.
func cinderSorting[T resource](r *request, keys map[string]comparison[T]) (*sorting[T], *response) {
	if r.query.Has("sort") && (r.query.Has("sort_key") || r.query.Has("sort_dir")) {
		return nil, r.badRequest(
			"The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.",
		)
	}
	var names, directions []string
	for one := range strings.SplitSeq(r.query.Get("sort"), ",") {
		name, direction, _ := strings.Cut(one, ":")
		names, directions = append(
			names,
			strings.TrimSpace(name),
		), append(
			directions,
			cmp.Or(strings.TrimSpace(direction), "desc"),
		)
	}
	if !r.query.Has("sort") {
		if !r.query.Has("sort_key") && !r.query.Has("sort_dir") {
			return nil, nil
		}
		names, directions = []string{
			cmp.Or(r.query.Get("sort_key"), "created_at"),
		}, []string{
			cmp.Or(r.query.Get("sort_dir"), "desc"),
		}
	}
	for _, d := range directions {
		if d != "asc" && d != "desc" {
			return nil, r.badRequest("Invalid input received: Unknown sort direction, must be 'desc' or 'asc'.")
		}
	}
	var order sorting[T]
	for i, name := range append(names, "created_at") {
		by, known := keys[name]
		if !known {
			return nil, r.badRequest("Invalid input received: Invalid sort key")
		}
		if by == nil {
			continue
		}
		if directions[min(i, len(directions)-1)] == "desc" && i < len(names) ||
			i == len(names) && directions[0] == "desc" {
			by = reversed(by)
		}
		order.by = append(order.by, by)
	}
	return &order, nil
}

// metadataFilter parses the filter by metadata: a dictionary in Python's or JSON's syntax. One that cannot be parsed
// matches everything.
func metadataFilter(r *request) func(map[string]string) bool {
	text := r.query.Get("metadata")
	if text == "" {
		return func(map[string]string) bool { return true }
	}
	v, err := decodeJSON([]byte(text))
	if err != nil {
		v, err = decodeJSON([]byte(strings.ReplaceAll(text, "'", `"`)))
	}
	wanted, isObject := v.(object)
	return func(metadata map[string]string) bool {
		if err != nil || !isObject {
			return false
		}
		for _, m := range wanted {
			if value, ok := metadata[m.name]; !ok || value != pythonStr(m.value) {
				return false
			}
		}
		return true
	}
}

func (c *Cloud) listVolumes(r *request) *response {
	l, refused := r.cinderList(
		[]string{"name", "status", "metadata", "bootable", "availability_zone", "size", "created_at", "updated_at"},
	)
	if refused != nil {
		return refused
	}
	text := func(of func(*volume) string) comparison[*volume] {
		return func(a, b *volume) int { return cmp.Compare(strings.ToLower(of(a)), strings.ToLower(of(b))) }
	}
	order, refused := cinderSorting(r, map[string]comparison[*volume]{
		"created_at": func(a, b *volume) int { return cmp.Compare(a.sequence, b.sequence) },
		"size":       func(a, b *volume) int { return cmp.Compare(a.size, b.size) },
		"name": text(
			func(v *volume) string { return v.name },
		),
		"status": text(func(v *volume) string { return v.status }),
		"id": text(
			func(v *volume) string { return v.id },
		),
		"project_id": text(func(v *volume) string { return v.projectID }),
		"display_name": text(
			func(v *volume) string { return v.name },
		),
		"user_id":           text(func(v *volume) string { return v.userID }),
		"updated_at":        func(a, b *volume) int { return a.updated.Compare(b.updated) },
		"availability_zone": nil,
		"bootable":          nil,
		"host":              nil,
	})
	if refused != nil {
		return refused
	}
	var marker *volume
	if id := r.query.Get("marker"); id != "" {
		if marker = c.volumes.get(id); marker == nil || !r.who.sees(marker.projectID) {
			return r.notFound("Volume %s could not be found.", id)
		}
	}
	metadata := metadataFilter(r)
	fits := func(v *volume) bool {
		return !l.none &&
			listed(r.query, map[string]string{"name": v.name, "status": v.status, "size": strconv.Itoa(v.size)}) &&
			metadata(v.metadata)
	}
	return cinderPage(r, "volumes", l, c.volumes.in(l.project, l.all), order, marker, fits, func(v *volume) object {
		if r.detailed() {
			return c.volumeView(r, v, true)
		}
		return object{{"id", v.id}, {"name", v.text(v.name)}, {"links", r.links("volume", "volumes/"+v.id)}}
	})
}

func (c *Cloud) listSnapshots(r *request) *response {
	l, refused := r.cinderList([]string{"name", "status", "volume_id", "metadata", "availability_zone"})
	if refused != nil {
		return refused
	}
	text := func(of func(*snapshot) string) comparison[*snapshot] {
		return func(a, b *snapshot) int { return cmp.Compare(strings.ToLower(of(a)), strings.ToLower(of(b))) }
	}
	keys := map[string]comparison[*snapshot]{
		"created_at": func(a, b *snapshot) int { return cmp.Compare(a.sequence, b.sequence) },
		"status": text(
			func(s *snapshot) string { return s.status },
		),
		"id": text(func(s *snapshot) string { return s.id }),
		"display_name": text(
			func(s *snapshot) string { return s.name },
		),
		"volume_id": text(func(s *snapshot) string { return s.volumeID }),
		"project_id": text(
			func(s *snapshot) string { return s.projectID },
		),
		"user_id":    text(func(s *snapshot) string { return s.userID }),
		"updated_at": func(a, b *snapshot) int { return a.updated.Compare(b.updated) },
	}
	if r.version.atLeast(3, 30) {
		keys["name"] = keys["display_name"]
	}
	order, refused := cinderSorting(r, keys)
	if refused != nil {
		return refused
	}
	var marker *snapshot
	if id := r.query.Get("marker"); id != "" {
		if marker = c.snapshots.get(id); marker == nil || !r.who.sees(marker.projectID) {
			return r.notFound("Snapshot %s could not be found.", id)
		}
	}
	metadata := metadataFilter(r)
	if !r.version.atLeast(3, 22) {
		metadata = func(map[string]string) bool { return true }
	}
	fits := func(s *snapshot) bool {
		return !l.none &&
			listed(r.query, map[string]string{"name": s.name, "status": s.status, "volume_id": s.volumeID}) &&
			metadata(s.metadata)
	}
	return cinderPage(
		r,
		"snapshots",
		l,
		c.snapshots.in(l.project, l.all),
		order,
		marker,
		fits,
		func(s *snapshot) object {
			if r.detailed() {
				return r.snapshotView(s, true)
			}
			view := r.snapshotView(s, false)
			return slices.DeleteFunc(view, func(m member) bool {
				return m.name == "group_snapshot_id" || m.name == "user_id" || m.name == "consumes_quota"
			})
		},
	)
}

// listed reports whether a resource matches the query's filters.
func listed(q url.Values, values map[string]string) bool {
	for name, value := range values {
		if q.Has(name) && q.Get(name) != value {
			return false
		}
	}
	return true
}

// cinderPage responds with a page, a link to the next one if this is full, and the total if requested.
func cinderPage[T resource](
	r *request,
	kind string,
	l cinderList,
	list *ordered[T],
	order *sorting[T],
	marker T,
	fits func(T) bool,
	view func(T) object,
) *response {
	views := []object{}
	found := page([]*ordered[T]{list}, order, marker, l.offset, l.limit, fits)
	for _, t := range found {
		views = append(views, view(t))
	}
	answer := object{{kind, views}}
	if len(found) == l.limit && l.limit > 0 {
		answer = append(answer, member{kind + "_links", r.nextLink(found[l.limit-1].key())})
	}
	if l.count {
		n := 0
		for t := range list.oldest() {
			if fits(t) {
				n++
			}
		}
		answer = append(answer, member{"count", n})
	}
	return r.json(http.StatusOK, answer)
}
