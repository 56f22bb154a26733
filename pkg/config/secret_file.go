package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

// fileSuffix makes of the name of a secret's variable that of a variable which names a file with the secret, as
// Docker's and Kubernetes' mounted secrets are.
const fileSuffix = "_FILE"

// maxSecretFile is in bytes; a list of brokers with passwords is the longest secret there is.
const maxSecretFile = 64 << 10

// readSecretFiles sets each secret of a struct of configuration whose variable with _FILE at its end names a file. The
// line feed at the file's end does not count.
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
			return fmt.Errorf("%s%s: %w", name, fileSuffix, err)
		}
		field.Set(reflect.ValueOf(NewSecret(text)))
	}
	return nil
}

func readSecretFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	switch {
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("%s has more than %d bytes", file, maxSecretFile)
	case secret == "":
		return "", errors.New(file + " is empty")
	}
	return secret, nil
}

// secretNames are the variables of a struct of configuration that hold secrets.
func secretNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Type == reflect.TypeFor[Secret]() {
			names = append(names, f.Tag.Get("envconfig"))
		}
	}
	return names
}
