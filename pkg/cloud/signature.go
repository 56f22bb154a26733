package cloud

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
)

// The signature SDK-HMAC-SHA256 of Huawei Cloud's API gateway:
// https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm.html
const (
	signatureAlgorithm = "SDK-HMAC-SHA256"
	signatureDate      = "20060102T150405Z" // a layout for time.Format, in UTC
)

// sign returns a signed copy of a replayable request. It signs the host and the X- headers that it sets.
func sign(req *http.Request, l config.Login, now time.Time) (*http.Request, error) {
	hash, err := bodyHash(req)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	signed := map[string]string{
		"host":         req.Host,
		"x-project-id": l.AccessKeyProjectID,
		"x-sdk-date":   now.UTC().Format(signatureDate),
	}
	if req.Host == "" {
		signed["host"] = req.URL.Host
	}
	if !l.SecurityToken.IsZero() {
		signed["x-security-token"] = l.SecurityToken.Reveal()
	}
	for name, value := range signed {
		if name != "host" {
			req.Header.Set(name, value)
		}
	}
	canonical := canonicalRequest(req.Method, req.URL, signed, hash)
	req.Header.Set("Authorization", authorization(canonical, signed, l.AccessKey, l.SecretKey.Reveal()))
	return req, nil
}

func bodyHash(req *http.Request) (string, error) {
	hash := sha256.New()
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err == nil {
			_, err = io.Copy(hash, body)
			_ = body.Close()
		}
		if err != nil {
			return "", fmt.Errorf("read the request's body to sign it: %w", err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// canonicalRequest returns the text that is signed. Header names are in lower case and include host.
func canonicalRequest(method string, u *url.URL, headers map[string]string, bodyHash string) string {
	segments := strings.Split(u.Path, "/")
	for i, s := range segments {
		segments[i] = escape(s)
	}
	uri := strings.Join(segments, "/")
	if !strings.HasSuffix(uri, "/") {
		uri += "/" // signed, but not sent
	}

	var query []string
	values := u.Query()
	for _, k := range slices.Sorted(maps.Keys(values)) {
		for _, v := range slices.Sorted(slices.Values(values[k])) {
			query = append(query, escape(k)+"="+escape(v))
		}
	}

	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines.WriteString(name + ":" + strings.TrimSpace(headers[name]) + "\n")
	}
	parts := []string{method, uri, strings.Join(query, "&"), lines.String(), signedNames(headers), bodyHash}
	return strings.Join(parts, "\n")
}

// authorization returns the value of the Authorization header.
func authorization(canonical string, headers map[string]string, accessKey, secretKey string) string {
	mac := hmac.New(sha256.New, []byte(secretKey))
	mac.Write([]byte(stringToSign(canonical, headers["x-sdk-date"])))
	return fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%x", signatureAlgorithm, accessKey, signedNames(headers),
		mac.Sum(nil))
}

func stringToSign(canonical, date string) string {
	hash := sha256.Sum256([]byte(canonical))
	return signatureAlgorithm + "\n" + date + "\n" + hex.EncodeToString(hash[:])
}

func signedNames(headers map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(headers)), ";")
}

// escape escapes all but the unreserved characters of RFC 3986. url.QueryEscape differs only in the space.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
