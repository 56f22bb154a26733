package simcloud

import (
	"net/http"
	"slices"
	"time"
)

// Huawei Cloud's responses. Its documentation lists codes and messages; the response format is that of its examples.
// Sources: https://support.huaweicloud.com/intl/en-us/api-ecs/ErrorCode.html and the EVS and API gateway pages of the
// same kind.

// ecsMessage returns ECS's message for a code; other is used for codes whose message depends on the request.
func ecsMessage(code, other string) string {
	switch code {
	case "Ecs.0100":
		return "The ECS status does not meet requirements. Make the ECS in the required status and try again."
	case "Ecs.0114":
		return "The ECS does not exist."
	case "Ecs.0605":
		return "The ECS is locked."
	case "Common.0018":
		return "The tenant ID in the URL is inconsistent with that in the token."
	}
	return other
}

// gatewayUnauthorized is the API gateway's response to an invalid token or signature.
func (r *request) gatewayUnauthorized(message string) *response {
	return r.json(http.StatusUnauthorized,
		object{{"error_msg", message}, {"error_code", "APIG.0301"}, {"request_id", r.id}})
}

// accessKeyState counts a key's consecutive wrong signatures.
type accessKeyState struct {
	failures    int
	lockedUntil time.Time
}

// After more than five wrong signatures in a row, the gateway locks the key for five minutes.
const (
	maxSignatureFailures = 5
	accessKeyLock        = 5 * time.Minute
	// maxClockSkew is how far the signature's date may be from the cloud's clock.
	maxClockSkew = 15 * time.Minute
)

// authorizeSigned authenticates a request signed with AK/SK. The caller holds c.mu.
func (c *Cloud) authorizeSigned(r *request) *response {
	refuse := func(why string) *response {
		return r.gatewayUnauthorized("Incorrect IAM authentication information: " + why)
	}
	given, err := parseAuthorization(r.header.Get("Authorization"))
	if err != nil {
		return refuse("authorization header is invalid")
	}
	key, found := find(c.directory.accessKeys, func(k AccessKey) bool { return k.AccessKey == given.accessKey })
	if !found {
		return refuse("get secretKey failed,ak:" + given.accessKey + ",err:ak not exist")
	}
	state := c.keys[key.AccessKey]
	if state == nil {
		state = &accessKeyState{}
		c.keys[key.AccessKey] = state
	}
	if state.lockedUntil.After(r.start) {
		return refuse("AK access failed to reach the limit,forbidden: " + key.AccessKey)
	}
	wrong := func(why string) *response {
		if state.failures++; state.failures > maxSignatureFailures {
			state.failures, state.lockedUntil = 0, r.start.Add(accessKeyLock)
		}
		return refuse(why)
	}
	signed, err := time.Parse(signatureDate, r.header.Get("X-Sdk-Date"))
	if err != nil || r.start.Sub(signed).Abs() > maxClockSkew {
		return refuse("x-sdk-date is missing or too far from the current time")
	}
	if key.SecurityToken != "" && !sameSecret(key.SecurityToken, r.header.Get("X-Security-Token")) {
		return wrong("security token is invalid")
	}
	if given.check(r.signed, r.body, key.SecretKey) != nil {
		return wrong("verify aksk signature fail")
	}
	state.failures = 0

	user, found := c.directory.user("", key.User)
	if !found {
		return refuse("the owner of the ak does not exist")
	}
	i := slices.IndexFunc(c.directory.projects, func(p Project) bool {
		id := r.header.Get("X-Project-Id")
		return user.rolesIn(p) != nil && (id == "" || p.ID == id)
	})
	if i < 0 {
		return refuse("the project of x-project-id is not the user's")
	}
	p := c.directory.projects[i]
	r.who = &identity{user: user, project: p, roles: user.rolesIn(p)}
	return nil
}
