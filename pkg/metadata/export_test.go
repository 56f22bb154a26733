package metadata

// Families returns every family.
func Families() []Family {
	all := make([]Family, len(families))
	for i := range families {
		all[i] = families[i].family
	}
	return all
}
