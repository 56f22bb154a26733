package contract_test

// keystoneReads is what is read of people and projects, by everybody.
func keystoneReads() []group {
	const unknown = "0123456789abcdef0123456789abcdef"
	var steps []step
	get := func(name, path string, people ...string) {
		for _, who := range people {
			steps = append(
				steps,
				step{name: name + " as " + who, as: who, method: "GET", path: "{keystone}/v3/" + path},
			)
		}
	}
	everybody := []string{"member", "reader", "stranger", "admin", "domain admin", "domain reader"}
	get("a member", "users/{member id}", append(everybody, "nobody", "expired")...)
	get("a reader", "users/{reader id}", everybody...)
	get("an unknown user", "users/"+unknown, everybody...)
	get("a project", "projects/{lists}", append(everybody, "lister", "nobody")...)
	get("the project demo", "projects/{demo}", "member", "reader", "stranger", "admin")
	get("an unknown project", "projects/"+unknown, everybody...)
	get("a project's tags", "projects/{lists}/tags", "member", "stranger", "lister", "admin")
	get("a project's tag", "projects/{lists}/tags/contract", "lister", "admin")
	get("a tag that is not there", "projects/{lists}/tags/nonsense", "lister", "admin")
	get("the domain", "domains/default", everybody...)
	get("an unknown domain", "domains/"+unknown, "member", "admin")
	get("own projects", "auth/projects", "stranger", "nobody")
	get("own domains", "auth/domains", "member", "domain admin")
	get("projects by name", "projects?name={lists name}", everybody...)
	get("projects by tag", "projects?name={lists name}&tags=contract,no-bill", "admin")
	get("projects by tags that it lacks", "projects?name={lists name}&tags=nonsense", "admin")
	get("projects of an unknown domain", "projects?domain_id="+unknown, "admin", "domain reader")
	get("users by name", "users?name=stranger", everybody...)
	get("users of the domain", "users?name=stranger&domain_id=default", "admin", "domain reader")
	get("somebody's projects", "users/{stranger id}/projects", "stranger", "member", "admin", "domain reader")
	get("domains", "domains", "member", "admin", "domain reader")
	return []group{{name: "keystone", steps: steps}}
}
