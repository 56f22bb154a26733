package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// packages writes Debian and RPM packages of the command, with the service that consumes notifications from RabbitMQ.
func (b *builder) packages() error {
	source := func(name string) string { return filepath.Join(b.root, "deploy", "systemd", name) }
	made := map[string][]byte{
		"LICENSES": b.licences, "bash": b.shells["bash"], "zsh": b.shells["zsh"], "fish": b.shells["fish"],
	}
	changes, err := b.file("", "CHANGELOG.md", 0)
	if err != nil {
		return err
	}
	var compressed bytes.Buffer
	z, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(changes.text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	made["changelog.gz"] = compressed.Bytes()
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(b.work, name), text, 0o644); err != nil {
			return err
		}
	}
	content := func(source, destination, kind string, mode os.FileMode) *files.Content {
		info := &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: b.time}
		return &files.Content{Source: source, Destination: destination, Type: kind, FileInfo: info}
	}
	at := func(name string) string { return filepath.Join(b.work, name) }
	for _, arch := range []string{"amd64", "arm64"} {
		for format, packager := range map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM} {
			documents := "/usr/share/doc/tagger/"
			info := nfpm.WithDefaults(&nfpm.Info{
				Name: "tagger", Arch: arch, Platform: "linux", Version: b.version, Section: "admin", Priority: "optional",
				MTime:      b.time,
				Maintainer: "The Tagger authors <tagger@cloudtagger.example.com>",
				Description: "writes metadata to cloud servers when events report their creation\n" +
					"Tagger consumes the notifications of OpenStack's services from RabbitMQ, or CloudEvents from\n" +
					"other sources, and writes metadata to servers, volumes and snapshots according to rules.",
				Homepage: "https://github.com/cloudtagger/tagger", License: "Apache-2.0", DisableGlobbing: true,
				Overridables: nfpm.Overridables{
					Contents: files.Contents{
						content(b.command(platform{"linux", arch}).path, "/usr/bin/tagger", "", 0o755),
						content(source("tagger-listen.service"), "/usr/lib/systemd/system/tagger-listen.service", "", 0o644),
						content("", "/etc/tagger", files.TypeDir, 0o755),
						content(source("environment"), "/etc/tagger/environment", files.TypeConfigNoReplace, 0o600),
						content(source("rules.yaml"), "/etc/tagger/rules.yaml", files.TypeConfigNoReplace, 0o644),
						content(at("bash"), "/usr/share/bash-completion/completions/tagger", "", 0o644),
						content(at("zsh"), "/usr/share/zsh/vendor-completions/_tagger", "", 0o644),
						content(at("fish"), "/usr/share/fish/vendor_completions.d/tagger.fish", "", 0o644),
						content(filepath.Join(b.root, "LICENSE"), documents+"copyright", "", 0o644),
						content(at("LICENSES"), documents+"THIRD_PARTY_LICENSES", "", 0o644),
						content(at("changelog.gz"), documents+"changelog.gz", "", 0o644),
					},
					Scripts: nfpm.Scripts{
						PostInstall: source("postinstall.sh"), PreRemove: source("preremove.sh"), PostRemove: source("postremove.sh"),
					},
					RPM: nfpm.RPM{BuildHost: "localhost", Compression: "gzip",
						Summary: "Metadata on cloud servers when events report their creation"},
					Deb: nfpm.Deb{Compression: "gzip"},
				},
			})
			if err := nfpm.PrepareForPackager(info, format); err != nil {
				return fmt.Errorf("prepare the %s: %w", format, err)
			}
			path := filepath.Join(b.out, fmt.Sprintf("tagger_%s_%s.%s", b.plainVersion(), arch, format))
			if err := create(path, func(w io.Writer) error { return packager.Package(info, w) }); err != nil {
				return err
			}
		}
	}
	return nil
}
