package github

import (
	"net/http"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Lost are the ways in which the answer to a dispatch goes lost after its run was made, by
// a name for each. late is longer than the client waits for an answer.
func Lost(late time.Duration) map[string]standin.Action {
	instead := func(status int, kind, body string, more ...string) standin.Action {
		a := standin.Action{Handled: true, Status: status, Body: body, Header: http.Header{"Content-Type": {kind}}}
		for i := 0; i+1 < len(more); i += 2 {
			a.Header.Set(more[i], more[i+1])
		}
		return a
	}
	const json = "application/json; charset=utf-8"
	return map[string]standin.Action{
		"reset":     {Lose: true},
		"late":      {Delay: late},
		"502":       instead(http.StatusBadGateway, "text/html", "<html><title>502 Bad Gateway</title></html>"),
		"503":       instead(http.StatusServiceUnavailable, json, `{"message":"Service Unavailable"}`),
		"504":       instead(http.StatusGatewayTimeout, "text/html", "<html><title>504 Gateway Time-out</title></html>"),
		"500":       instead(http.StatusInternalServerError, json, `{"message":"Server Error"}`),
		"html":      instead(http.StatusOK, "text/html", "<html><title>Unicorn!</title></html>"),
		"truncated": instead(http.StatusOK, json, `{"workflow_run_id":16000`, "Content-Length", "200"),
		"zero id":   instead(http.StatusOK, json, `{"workflow_run_id":0,"run_url":"","html_url":""}`),
		"no id":     instead(http.StatusOK, json, `{}`),
		"empty":     instead(http.StatusOK, json, ``),
		"null":      instead(http.StatusOK, json, `null`),
		"202":       instead(http.StatusAccepted, json, `{}`),
	}
}
