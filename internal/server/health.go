package server

import "context"

type health struct {
	Body struct {
		Status string `json:"status"`
	}
}

func (s *Server) healthz(context.Context, *struct{}) (*health, error) {
	h := &health{}
	h.Body.Status = "ok"
	return h, nil
}

func (s *Server) readyz(ctx context.Context, in *struct{}) (*health, error) {
	if err := s.Store.Ping(ctx); err != nil {
		return nil, err
	}
	return s.healthz(ctx, in)
}
