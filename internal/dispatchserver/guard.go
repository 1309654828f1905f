package dispatchserver

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// authorised lets nobody by without the key.
func (s *Server) authorised(next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(s.Key))
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r.Header)
		got := sha256.Sum256([]byte(token))
		// The hashes have one length, so comparing them tells nothing of the key's.
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="dispatcher"`)
			writeProblem(w, problem{Status: http.StatusUnauthorized, Detail: "this route wants Authorization: Bearer INTERNAL_API_KEY"})
			return
		}
		next(w, r)
	}
}

// bearer reads the one way that a token may be spelled: a single header, the word Bearer, a
// single space, and no space or comma after it.
func bearer(h http.Header) (token string, ok bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	token, ok = strings.CutPrefix(values[0], "Bearer ")
	return token, ok && token != "" && !strings.ContainsAny(token, " \t,")
}

// goodRequestID reports whether a caller's own id may stand in the log and in a header.
func goodRequestID(id string) bool {
	return id != "" && len(id) <= 128 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") == ""
}

// seen gives each request an id, counts it, and logs those that fail.
func (s *Server) seen(pattern string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("x-request-id")
		if !goodRequestID(id) {
			id = "req_" + strings.ToLower(rand.Text())
		}
		h := w.Header()
		h.Set("x-request-id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(sw, r)
		s.Metrics.served(pattern, strconv.Itoa(sw.status))
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
