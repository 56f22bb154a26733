package contract_test

// keystoneReads returns the reads of users and projects, by each role.
func keystoneReads() []group {
	const unknown = "0123456789abcdef0123456789abcdef"
	var steps []step
	get := func(name, path string, users ...string) {
		for _, who := range users {
			steps = append(
				steps,
				step{name: name + " as " + who, as: who, method: "GET", path: "{keystone}/v3/" + path},
			)
		}
	}
	everyRole := []string{"member", "reader", "stranger", "admin", "domain admin", "domain reader"}
	get("a member", "users/{member id}", append(everyRole, "anonymous", "expired")...)
	get("a reader", "users/{reader id}", everyRole...)
	get("an unknown user", "users/"+unknown, everyRole...)
	get("a project", "projects/{lists}", append(everyRole, "lister", "anonymous")...)
	get("the project demo", "projects/{demo}", "member", "reader", "stranger", "admin")
	get("an unknown project", "projects/"+unknown, everyRole...)
	get("a project's tags", "projects/{lists}/tags", "member", "stranger", "lister", "admin")
	get("a project's tag", "projects/{lists}/tags/contract", "lister", "admin")
	get("a tag that is not there", "projects/{lists}/tags/nonsense", "lister", "admin")
	get("the domain", "domains/default", everyRole...)
	get("an unknown domain", "domains/"+unknown, "member", "admin")
	get("own projects", "auth/projects", "stranger", "anonymous")
	get("own domains", "auth/domains", "member", "domain admin")
	get("projects by name", "projects?name={lists name}", everyRole...)
	get("projects by tag", "projects?name={lists name}&tags=contract,no-bill", "admin")
	get("projects by tags that it lacks", "projects?name={lists name}&tags=nonsense", "admin")
	get("projects of an unknown domain", "projects?domain_id="+unknown, "admin", "domain reader")
	get("users by name", "users?name=stranger", everyRole...)
	get("users of the domain", "users?name=stranger&domain_id=default", "admin", "domain reader")
	get("another user's projects", "users/{stranger id}/projects", "stranger", "member", "admin", "domain reader")
	get("domains", "domains", "member", "admin", "domain reader")
	return []group{{name: "keystone", steps: steps}}
}
