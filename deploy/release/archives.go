package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// archives writes one archive for each platform, with the command, its licences and its completions.
func (b *builder) archives() error {
	for _, e := range b.built {
		if e.name != "tagger" {
			continue
		}
		program, err := b.file(filepath.Base(e.path), e.path, 0o755)
		if err != nil {
			return err
		}
		files := []file{program, {"THIRD_PARTY_LICENSES", 0o644, b.licences}}
		for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
			f, err := b.file(name, name, 0)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		for _, shell := range []string{"bash", "fish", "zsh"} {
			files = append(files, file{"completions/tagger." + shell, 0o644, b.shells[shell]})
		}
		write := writeTar
		if strings.HasSuffix(e.archive, ".zip") {
			write = writeZip
		}
		path := filepath.Join(b.out, e.archive)
		if err := create(path, func(w io.Writer) error { return write(w, files, b.time) }); err != nil {
			return err
		}
	}
	return nil
}

// create creates a file with the output of write.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

func writeTar(w io.Writer, files []file, modified time.Time) error {
	compressed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.text)), ModTime: modified,
			Format: tar.FormatPAX}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

func writeZip(w io.Writer, files []file, modified time.Time) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: modified.UTC()}
		header.SetMode(f.mode)
		entry, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.text); err != nil {
			return err
		}
	}
	return z.Close()
}

// checksums writes checksums.txt, which "sha256sum -c" reads.
func checksums(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		f, err := os.Open(filepath.Join(directory, e.Name()))
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Name(), err)
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", h.Sum(nil), e.Name()))
	}
	slices.Sort(lines)
	return os.WriteFile(filepath.Join(directory, "checksums.txt"), []byte(strings.Join(lines, "")), 0o644)
}
