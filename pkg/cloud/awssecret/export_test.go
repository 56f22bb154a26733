package awssecret

import "net/http"

// SendWith replaces the SDK's HTTP client.
func (s *Secret) SendWith(client *http.Client) { s.http = client }
