package simcloud

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Huawei Cloud's AK/SK signatures. This verifier is written from the documentation, independently of the signer in
// pkg/cloud, so that the two check each other. Source:
// https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm.html

const (
	signatureAlgorithm = "SDK-HMAC-SHA256"
	// signatureDate is the layout of X-Sdk-Date.
	signatureDate = "20060102T150405Z"
)

// VerifySignature returns an error unless the request's Authorization header is the SDK-HMAC-SHA256 signature of
// request and body by that secret key. It ignores the date. The path is the decoded one; the host comes from r.Host.
func VerifySignature(r *http.Request, body []byte, secretKey Secret) error {
	given, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	return given.check(signedParts{r.Method, r.URL.Path, r.URL.Query(), r.Header, r.Host}, body, secretKey)
}

// authorization is a parsed Authorization header.
type authorization struct {
	accessKey string
	headers   []string // lower case, as listed
	signature string
}

func parseAuthorization(header string) (authorization, error) {
	rest, found := strings.CutPrefix(header, signatureAlgorithm+" ")
	if !found {
		return authorization{}, errors.New("read Authorization: it is not an " + signatureAlgorithm + " signature")
	}
	var a authorization
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Access":
			a.accessKey = value
		case "SignedHeaders":
			a.headers = strings.Split(strings.ToLower(value), ";")
		case "Signature":
			a.signature = value
		}
	}
	if a.accessKey == "" || a.signature == "" || len(a.headers) == 0 {
		return authorization{}, errors.New("read Authorization: it lacks Access, SignedHeaders or Signature")
	}
	return a, nil
}

// signedParts are the parts of a request that a signature covers, besides its body.
type signedParts struct {
	method string
	path   string
	query  url.Values
	header http.Header
	host   string
}

// check returns an error unless the signature is right.
func (a authorization) check(p signedParts, body []byte, secretKey Secret) error {
	if !slices.Contains(a.headers, "x-sdk-date") {
		return errors.New("verify the signature: x-sdk-date is not among the signed headers")
	}
	if !slices.IsSorted(a.headers) {
		return errors.New("verify the signature: the signed headers are not in order")
	}
	canonical := sha256.Sum256([]byte(a.canonicalRequest(p, body)))
	mac := hmac.New(sha256.New, []byte(secretKey))
	fmt.Fprintf(mac, "%s\n%s\n%x", signatureAlgorithm, p.header.Get("X-Sdk-Date"), canonical)
	given, err := hex.DecodeString(a.signature)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return errors.New("verify the signature: it is not that of this request and key")
	}
	return nil
}

// canonicalRequest returns the text whose hash is signed: method, path, query, headers, their names, and the body's
// hash.
func (a authorization) canonicalRequest(p signedParts, body []byte) string {
	var path strings.Builder
	for segment := range strings.SplitSeq(strings.Trim(p.path, "/"), "/") {
		path.WriteString("/" + escapeRFC3986(segment))
	}
	if !strings.HasSuffix(path.String(), "/") {
		path.WriteString("/")
	}
	var query []string
	for name, values := range p.query {
		for _, v := range values {
			query = append(query, escapeRFC3986(name)+"="+escapeRFC3986(v))
		}
	}
	slices.Sort(query)
	var headers strings.Builder
	for _, name := range a.headers {
		value := strings.Join(p.header.Values(name), ",")
		if name == "host" {
			value = p.host
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.TrimSpace(value))
	}
	hash := p.header.Get("X-Sdk-Content-Sha256")
	if hash == "" {
		hash = fmt.Sprintf("%x", sha256.Sum256(body))
	}
	return strings.Join([]string{p.method, path.String(), strings.Join(query, "&"), headers.String(),
		strings.Join(a.headers, ";"), hash}, "\n")
}

// escapeRFC3986 escapes all but the unreserved characters of RFC 3986.
func escapeRFC3986(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
