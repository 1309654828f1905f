package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// requestTime is how long a request may take, inside: what it waits for ends then.
const requestTime = 20 * time.Second

// requestIDKey is where a request's context holds its id.
type requestIDKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// goodRequestID is what a caller's own id may look like.
var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// observed gives each request an id and a deadline, counts it, and logs the ones that fail.
func (s *Server) observed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("x-request-id")
		if id == "" || !goodRequestID.MatchString(id) {
			id = "req_" + strings.ToLower(rand.Text())
		}
		header := w.Header()
		header["X-Request-Id"] = []string{id}
		header["X-Content-Type-Options"] = nosniff
		header["Cache-Control"] = noStore
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), requestIDKey{}, id), requestTime)
		defer cancel()
		sw := &statusWriter{ResponseWriter: w, request: r.WithContext(ctx)}
		h.ServeHTTP(sw, sw.request)
		took := time.Since(start)
		s.metrics.observe(sw.request.Pattern, sw.status, took)
		if sw.status < 400 {
			return
		}
		level := slog.LevelInfo
		if sw.status >= 500 {
			level = slog.LevelError
		}
		s.Log.Log(ctx, level, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", sw.status), slog.String("request_id", id), slog.Duration("took", took))
	})
}

var nosniff, noStore = []string{"nosniff"}, []string{"no-store"}

// A statusWriter remembers the status, and answers in our form where no route has taken the
// request.
type statusWriter struct {
	http.ResponseWriter
	request *http.Request
	status  int
	replace bool // what is written is the mux's own words
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status != 0 { // it is net/http's to complain
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	if w.request.Pattern != "" || status < 400 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.replace = true
	w.Header().Del("Content-Length")
	w.Header().Set("Content-Type", "application/problem+json")
	w.ResponseWriter.WriteHeader(status)
	// A client that has gone away is its own affair.
	_ = json.NewEncoder(w.ResponseWriter).Encode(huma.ErrorModel{Status: status, Title: http.StatusText(status),
		Detail: "there is no " + w.request.Method + " of this path"})
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.replace {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets net/http find what the writer can do beyond writing.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
