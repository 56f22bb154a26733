package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/google/uuid"
)

// Request is one request, byte for byte as it will be sent.
type Request struct {
	Method string
	// Path is relative to the service's endpoint, escaped, without a leading slash: "servers/{id}/metadata".
	Path string
	// Body is the JSON that is sent, nil for none.
	Body []byte
}

// UpdateServer adds keys to a server's metadata or overwrites them, all in one request; other keys stay. It merges in
// the API by reading, changing and writing the whole map without a lock: two requests at a time can lose keys.
func UpdateServer(id string, metadata map[string]string) Request {
	return Request{Method: "POST", Path: serverPath(id) + "/metadata", Body: encode(map[string]map[string]string{"metadata": metadata})}
}

// GetServer reads the server, of which the vm_state matters here.
func GetServer(id string) Request {
	return Request{Method: "GET", Path: serverPath(id)}
}

// GetServerMetadata reads all of a server's metadata.
func GetServerMetadata(id string) Request {
	return Request{Method: "GET", Path: serverPath(id) + "/metadata"}
}

// GetServerMetadatum reads one key of a server's metadata.
func GetServerMetadatum(id, key string) Request {
	return Request{Method: "GET", Path: serverPath(id) + "/metadata/" + url.PathEscape(key)}
}

// DeleteServerMetadatum deletes one key of a server's metadata.
func DeleteServerMetadatum(id, key string) Request {
	return Request{Method: "DELETE", Path: serverPath(id) + "/metadata/" + url.PathEscape(key)}
}

// SetSnapshotMetadatum adds or overwrites one key of a snapshot's metadata. It races with other writers of the same
// snapshot as [UpdateServer] does.
func SetSnapshotMetadatum(id, key, value string) Request {
	return Request{
		Method: "PUT", Path: snapshotPath(id) + "/metadata/" + url.PathEscape(key),
		Body: encode(map[string]map[string]string{"meta": {key: value}}),
	}
}

// GetSnapshotMetadata reads all of a snapshot's metadata.
func GetSnapshotMetadata(id string) Request {
	return Request{Method: "GET", Path: snapshotPath(id) + "/metadata"}
}

// DeleteSnapshotMetadatum deletes one key of a snapshot's metadata.
func DeleteSnapshotMetadatum(id, key string) Request {
	return Request{Method: "DELETE", Path: snapshotPath(id) + "/metadata/" + url.PathEscape(key)}
}

func serverPath(id string) string   { return "servers/" + url.PathEscape(id) }
func snapshotPath(id string) string { return "snapshots/" + url.PathEscape(id) }

// encode writes JSON with sorted keys, and <, > and & as they are, so that a plan reads as the request will.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("encode maps of strings: " + err.Error()) // cannot happen: a map of strings always has a JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// CheckID returns an error unless id is a UUID in its usual form of 8-4-4-4-12 hexadecimal digits. Whatever else
// comes as an id would become part of a URL.
func CheckID(id string) error {
	if len(id) != 36 || uuid.Validate(id) != nil { // which takes braces, a prefix and no dashes too
		return fmt.Errorf("id %.40q is not a UUID", id)
	}
	return nil
}
