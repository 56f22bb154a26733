package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonroot is the user of the image. It is a number, as Kubernetes' runAsNonRoot requires.
const nonroot = "65532:65532"

// image writes an OCI image layout for both architectures, as one archive. It has no base image, only the command, the
// certificates of Mozilla's authorities and the licences. Its root file system can be read-only.
//
// The certificates are a file instead of a part of the command, so that a mount can replace them.
func (b *builder) image() error {
	directory := filepath.Join(b.work, "image")
	path, err := layout.Write(directory, empty.Index)
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	annotations := map[string]string{
		"org.opencontainers.image.title": "tagger", "org.opencontainers.image.version": b.version,
		"org.opencontainers.image.revision": b.commit, "org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.source":  "https://github.com/cloudtagger/tagger",
		"org.opencontainers.image.created": b.time.UTC().Format("2006-01-02T15:04:05Z"),
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := b.imageOf(arch, annotations)
		if err != nil {
			return fmt.Errorf("build the image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	annotated, ok := mutate.Annotations(index, annotations).(v1.ImageIndex)
	if !ok {
		return errors.New("annotate the image: the result is not an index")
	}
	name := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": b.plainVersion()})
	if err := path.AppendIndex(annotated, name); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	var files []file
	err = filepath.WalkDir(directory, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(directory, p)
		if err != nil {
			return err
		}
		f, err := b.file(filepath.ToSlash(relative), p, 0)
		files = append(files, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	out := filepath.Join(b.out, fmt.Sprintf("tagger_%s_oci.tar", b.plainVersion()))
	return create(out, func(w io.Writer) error { return b.writeLayer(w, files) })
}

func (b *builder) imageOf(arch string, annotations map[string]string) (v1.Image, error) {
	program, err := b.file("usr/bin/tagger", b.command(platform{"linux", arch}).path, 0o755)
	if err != nil {
		return nil, err
	}
	own, err := b.file("usr/share/doc/tagger/LICENSE", "LICENSE", 0)
	if err != nil {
		return nil, err
	}
	files := []file{
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, authorities()},
		program, own,
		{"usr/share/doc/tagger/THIRD_PARTY_LICENSES", 0o644, b.licences},
	}
	var content bytes.Buffer
	if err := b.writeLayer(&content, files); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	},
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: b.time.UTC()}, CreatedBy: "deploy/release"},
	})
	if err != nil {
		return nil, err
	}
	config, err := partial.ConfigFile(image)
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: b.time.UTC()}
	config.Config = v1.Config{
		Entrypoint: []string{"/usr/bin/tagger"}, Cmd: []string{"serve"}, User: nonroot, WorkingDir: "/", Labels: annotations,
		Env:          []string{"PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}
	return mutate.ConfigFile(image, config)
}

// writeLayer writes a tar archive with the directories above each file.
func (b *builder) writeLayer(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	seen := map[string]bool{}
	for _, f := range files {
		for i, r := range f.name {
			if directory := f.name[:i]; r == '/' && !seen[directory] {
				seen[directory] = true
				header := &tar.Header{Typeflag: tar.TypeDir, Name: directory + "/", Mode: 0o755, ModTime: b.time,
					Format: tar.FormatPAX}
				if err := t.WriteHeader(header); err != nil {
					return err
				}
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: int64(f.mode), Size: int64(len(f.text)),
			ModTime: b.time, Format: tar.FormatPAX}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	return t.Close()
}

// authorities returns the certificates of the authorities that Mozilla trusts, in PEM.
func authorities() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
	}
	return b.Bytes()
}
