package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

// fileSuffix is appended to the name of a secret's variable. The resulting variable names a file with the secret, for
// mounted secrets of Docker and Kubernetes.
const fileSuffix = "_FILE"

// maxSecretFile is in bytes. The longest secret is a list of brokers with passwords.
const maxSecretFile = 64 << 10

// readSecretFiles sets the secrets of a configuration struct from the files that the variables with [fileSuffix] name.
// It drops line feeds at the end of a file.
func readSecretFiles(s any) error {
	v := reflect.ValueOf(s).Elem()
	for f := range v.Type().Fields() {
		if f.Type != reflect.TypeFor[Secret]() {
			continue
		}
		name := f.Tag.Get("envconfig")
		file := os.Getenv(name + fileSuffix)
		if file == "" {
			continue
		}
		field := v.FieldByIndex(f.Index)
		if !field.Interface().(Secret).IsZero() {
			return fmt.Errorf("%s and %s%s are both set; keep one", name, name, fileSuffix)
		}
		text, err := readSecretFile(file)
		if err != nil {
			return fmt.Errorf("%s%s %w", name, fileSuffix, err)
		}
		field.Set(reflect.ValueOf(NewSecret(text)))
	}
	return nil
}

// readSecretFile reads a secret. Its errors continue a sentence that begins with the variable's name. They never quote
// the path: it is the secret itself if the user mistook the variable.
func readSecretFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", unreadable(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", unreadable(err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	switch {
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("names a file that has more than %d bytes", maxSecretFile)
	case secret == "":
		return "", errors.New("names a file that is empty")
	}
	return secret, nil
}

// unreadable drops the path from the error of a file that cannot be read.
func unreadable(err error) error {
	return fmt.Errorf("names no file that can be read (%w): it wants the path of a file with the secret, not the secret "+
		"itself", unwrapPath(err))
}

// secretNames returns the variables of the secrets in a configuration struct.
func secretNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Type == reflect.TypeFor[Secret]() {
			names = append(names, f.Tag.Get("envconfig"))
		}
	}
	return names
}
