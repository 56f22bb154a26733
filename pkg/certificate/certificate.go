// Package certificate loads the certificate authorities that a setting names, and explains why a server's certificate
// was refused and how to fix that.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Authorities returns the certificates of a setting, whose value is PEM text or the path of a PEM file. Without a
// value, it returns nil, which stands for the system's authorities.
func Authorities(setting, value string) (*x509.CertPool, error) {
	if value == "" {
		return nil, nil
	}
	pem, name := []byte(value), setting
	if !strings.Contains(value, "-----BEGIN ") {
		var err error
		if pem, err = os.ReadFile(value); err != nil {
			return nil, fmt.Errorf("read the certificates that %s names: %w", setting, err)
		}
		name = value
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificates that %s names: no PEM certificate in %s", setting, name)
	}
	return pool, nil
}

// Refused returns an error that says what is wrong with a server's certificate and what to do about it. It names the
// settings of the authorities and of the server's address. It returns nil if err is not about a certificate.
func Refused(err error, authorities, address string) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		return nil
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("the certificate is for another name (use one that it has in %s): %w", address, err)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the certificate, or its authority's, has expired or is not valid yet (renew it, or set the "+
			"clock of this host): %w", err)
	}
	return fmt.Errorf("the certificate is not trusted (set %s to its CA certificate): %w", authorities, err)
}
