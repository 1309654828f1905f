package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// requestIDKey is where a request's context holds its id.
type requestIDKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// goodRequestID is what a caller's own id may look like.
var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// logged gives each request an id, and logs the ones that fail.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("x-request-id")
		if !goodRequestID.MatchString(id) {
			id = "req_" + strings.ToLower(rand.Text())
		}
		w.Header().Set("x-request-id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		h.ServeHTTP(sw, r)
		if sw.status < 400 {
			return
		}
		level := slog.LevelInfo
		if sw.status >= 500 {
			level = slog.LevelError
		}
		s.Log.Log(r.Context(), level, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", sw.status), slog.String("request_id", id), slog.Duration("took", time.Since(start)))
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets net/http find what the writer can do beyond writing.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
