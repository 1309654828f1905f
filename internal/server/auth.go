package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// authorised is a middleware that lets nobody by without the key.
func (s *Server) authorised(api huma.API) func(huma.Context, func(huma.Context)) {
	want := sha256.Sum256([]byte(s.Key))
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		if s.SkipAuth && onLoopback(r) {
			next(ctx)
			return
		}
		token, ok := bearer(r.Header)
		got := sha256.Sum256([]byte(token))
		// The hashes have one length, so comparing them tells nothing of the key's.
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && ok && s.Key != "" {
			next(ctx)
			return
		}
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="control plane"`)
		_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "this route wants Authorization: Bearer INTERNAL_API_KEY")
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

// onLoopback reports whether r came to a loopback address.
func onLoopback(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && loopback(a)
}
