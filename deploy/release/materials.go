package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"path/filepath"

	"github.com/CycloneDX/cyclonedx-go"
)

// materials writes a bill of materials (CycloneDX 1.6) beside each archive: the modules in the build information of the
// executable.
func (b *builder) materials() error {
	for _, e := range b.built {
		info, err := buildinfo.ReadFile(e.path)
		if err != nil {
			return fmt.Errorf("read the build information: %w", err)
		}
		purl := func(path, version string) string { return "pkg:golang/" + path + "@" + version }
		main := purl(info.Main.Path, b.version)
		standard := "pkg:golang/std@" + info.GoVersion
		components := []cyclonedx.Component{
			{Type: cyclonedx.ComponentTypeLibrary, BOMRef: standard, Name: "std", Version: info.GoVersion, PackageURL: standard},
		}
		needed := []string{standard}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			ref := purl(m.Path, m.Version)
			needed = append(needed, ref)
			components = append(components, cyclonedx.Component{
				Type: cyclonedx.ComponentTypeLibrary, BOMRef: ref, Name: m.Path, Version: m.Version, PackageURL: ref,
				Properties: &[]cyclonedx.Property{{Name: "cdx:golang:sum", Value: m.Sum}},
			})
		}
		bom := cyclonedx.NewBOM()
		bom.Metadata = &cyclonedx.Metadata{
			Timestamp: b.time.UTC().Format("2006-01-02T15:04:05Z"),
			Component: &cyclonedx.Component{
				Type: cyclonedx.ComponentTypeApplication, BOMRef: main, Name: e.name, Version: b.version, PackageURL: main,
				Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
				Properties: &[]cyclonedx.Property{{Name: "cdx:golang:goos", Value: e.os},
					{Name: "cdx:golang:goarch", Value: e.arch}},
			},
		}
		bom.Components = &components
		bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main, Dependencies: &needed}}
		path := filepath.Join(b.out, e.archive+".cdx.json")
		err = create(path, func(w io.Writer) error {
			return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
