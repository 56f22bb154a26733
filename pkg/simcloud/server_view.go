package simcloud

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// serverView returns a server as GET /servers/{id} shows it at the request's microversion. Without extended, it is the
// response of PUT before 2.75. Source: nova/api/openstack/compute/views/servers.py, and answers of Nova 26.2.
func (c *Cloud) serverView(r *request, s *server, extended bool) object {
	v := r.version
	host := sha256.Sum224([]byte(s.projectID + "simcloud"))
	hostID := hex.EncodeToString(host[:])
	if !s.hasHost() || s.vmState == vmBuilding && s.taskState == "" {
		hostID = ""
	}
	view := object{
		{"id", s.id}, {"name", s.name}, {"status", s.status()}, {"tenant_id", s.projectID}, {"user_id", s.userID},
		{"metadata", s.metadata}, {"hostId", hostID}, {"image", c.imageOf(r, s)}, {"flavor", c.flavorOf(r, s)},
		{"created", computeTime(s.created)}, {"updated", computeTime(s.updated)}, {"addresses", object{}},
		{"accessIPv4", ""}, {"accessIPv6", ""}, {"links", r.serverLinks(s)}, {"OS-DCF:diskConfig", "MANUAL"},
	}
	if s.fault != "" && slices.Contains([]string{"ERROR", "DELETED"}, s.status()) {
		view = append(view, member{"fault",
			object{{"code", http.StatusInternalServerError}, {"created", computeTime(s.faultAt)}, {"message", s.fault}}})
	}
	if slices.Contains([]string{"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"}, s.status()) {
		view = append(view, member{"progress", 0})
	}
	if extended {
		view = append(view, c.extendedView(r, s)...)
	}
	since := func(minor int, members ...member) {
		if v.atLeast(2, minor) {
			view = append(view, members...)
		}
	}
	since(9, member{"locked", s.locked})
	since(73, member{"locked_reason", textOrNil(s.lockReason)})
	since(19, member{"description", textOrNil(s.description)})
	since(26, member{"tags", s.tags})
	since(63, member{"trusted_image_certificates", nil})
	if !r.who.admin() || !extended {
		since(90, member{"OS-EXT-SRV-ATTR:hostname", s.hostname()})
	}
	if !r.detailed() {
		since(71, member{"server_groups", []string{}})
	}
	return view
}

// extendedView returns the members that Nova's former extensions add to a server.
func (c *Cloud) extendedView(r *request, s *server) object {
	zone := ""
	if s.hasHost() {
		zone = s.zone
	}
	drive := ""
	if s.configDrive {
		drive = "True"
	}
	view := object{
		{"OS-EXT-AZ:availability_zone", zone}, {"config_drive", drive}, {"key_name", nil},
		{"OS-SRV-USG:launched_at", momentOrNil(s.launched)}, {"OS-SRV-USG:terminated_at", momentOrNil(s.terminated)},
	}
	if r.who.admin() {
		view = append(view, object{
			{"OS-EXT-SRV-ATTR:host", "simcloud"}, {"OS-EXT-SRV-ATTR:instance_name", "instance-" + s.id[:min(8, len(s.id))]},
			{"OS-EXT-SRV-ATTR:hypervisor_hostname", "simcloud"},
		}...)
		if r.version.atLeast(2, 3) {
			view = append(view, object{
				{
					"OS-EXT-SRV-ATTR:reservation_id",
					"r-" + s.id[:min(8, len(s.id))],
				},
				{"OS-EXT-SRV-ATTR:launch_index", 0},
				{
					"OS-EXT-SRV-ATTR:hostname",
					s.hostname(),
				},
				{"OS-EXT-SRV-ATTR:kernel_id", ""},
				{"OS-EXT-SRV-ATTR:ramdisk_id", ""},
				{
					"OS-EXT-SRV-ATTR:root_device_name",
					s.rootDevice(),
				},
				{"OS-EXT-SRV-ATTR:user_data", textOrNil(s.userData)},
			}...)
		}
		if r.version.atLeast(2, 16) {
			view = append(view, member{"host_status", s.hostStatus()})
		}
	}
	return append(view, object{
		{"OS-EXT-STS:task_state", textOrNil(s.taskState)}, {"OS-EXT-STS:vm_state", s.vmState},
		{"OS-EXT-STS:power_state", s.powerState()}, {"os-extended-volumes:volumes_attached", c.attachedVolumes(r, s)},
	}...)
}

func (r *request) serverLinks(s *server) []object { return r.links("compute", "servers/"+s.id) }

// links are the links of a resource: the self link has the version and, if the request has one, the project; the
// bookmark no version.
func (r *request) links(service, path string) []object {
	bookmark := r.base + "/" + service
	if r.projectInURL != "" {
		bookmark += "/" + r.projectInURL
	}
	return []object{{{"rel", "self"}, {"href", r.linkPrefix + "/" + path}},
		{{"rel", "bookmark"}, {"href", bookmark + "/" + path}}}
}

func (c *Cloud) imageOf(r *request, s *server) any {
	if s.image == "" {
		return ""
	}
	return object{{"id", s.image}, {"links", r.links("compute", "images/"+s.image)[1:]}}
}

func (c *Cloud) flavorOf(r *request, s *server) object {
	if !r.version.atLeast(2, 47) {
		return object{{"id", s.flavor}, {"links", r.links("compute", "flavors/"+s.flavor)[1:]}}
	}
	f, _ := c.directory.flavor(s.flavor)
	return object{
		{"vcpus", f.VCPUs}, {"ram", f.RAM}, {"disk", f.Disk}, {"ephemeral", 0}, {"swap", 0}, {"original_name", f.Name},
		{"extra_specs", object{}},
	}
}

// rootDevice returns the guest's boot device, nil before it is built.
func (s *server) rootDevice() any {
	if s.launched.IsZero() && !s.hasHost() {
		return nil
	}
	return "/dev/sda"
}

// hostStatus returns Nova's status of the server's host.
func (s *server) hostStatus() string {
	if s.hasHost() {
		return "UP"
	}
	return ""
}

// hostname derives the guest's host name from the server's name as Nova does, by RFC 952.
func hostname(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '_' || r == '.':
			return '-'
		case r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, name), "-")
}

func textOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// computeTime formats creation and change times as Nova does.
func computeTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// momentOrNil formats other times as Nova and Cinder do, nil for the zero time.
func momentOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05") + ".000000"
}
