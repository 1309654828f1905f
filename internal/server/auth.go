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

// middleware is Huma's.
type middleware = func(ctx huma.Context, next func(huma.Context))

// authorised is a middleware that lets nobody by without the key.
func (s *Server) authorised(api huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		if s.bearsKey(r) {
			next(huma.WithValue(ctx, callerKey{}, internalCaller))
			return
		}
		s.unauthorised(api, ctx)
	}
}

func (s *Server) unauthorised(api huma.API, ctx huma.Context) {
	ctx.SetHeader("WWW-Authenticate", `Bearer realm="control plane"`)
	_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "this route wants Authorization: Bearer INTERNAL_API_KEY")
}

// public is a middleware that lets everybody by, as often as the limit allows. Whoever bears
// the key is let by always; a wrong key is not overlooked.
func (s *Server) public(api huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		if s.bearsKey(r) {
			next(huma.WithValue(ctx, callerKey{}, internalCaller))
			return
		}
		client := s.client(r)
		if wait := s.orders.take(client, s.now()); wait > 0 {
			s.metrics.limited.Inc()
			ctx.SetHeader("Retry-After", seconds(wait))
			_ = huma.WriteErr(api, ctx, http.StatusTooManyRequests, "too many orders from this address: wait as long as Retry-After says")
			return
		}
		if r.Header.Get("Authorization") != "" {
			s.unauthorised(api, ctx)
			return
		}
		next(huma.WithValue(ctx, callerKey{}, caller{name: "public " + client.String()}))
	}
}

// bearsKey reports whether r bears the key, or comes where none is asked for.
func (s *Server) bearsKey(r *http.Request) bool {
	if s.SkipAuth && onLoopback(r) {
		return true
	}
	token, ok := bearer(r.Header)
	got := sha256.Sum256([]byte(token))
	// The hashes have one length, so comparing them tells nothing of the key's.
	return subtle.ConstantTimeCompare(got[:], s.keyHash[:]) == 1 && ok && s.Key != ""
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
