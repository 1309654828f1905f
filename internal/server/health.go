package server

import (
	"context"
	"time"
)

// readyTime is how long the database may take to answer that it is there.
const readyTime = 2 * time.Second

type health struct {
	Body struct {
		Status string `json:"status" example:"ok"`
	}
}

func (s *Server) healthz(context.Context, *struct{}) (*health, error) {
	h := &health{}
	h.Body.Status = "ok"
	return h, nil
}

func (s *Server) readyz(ctx context.Context, in *struct{}) (*health, error) {
	limited, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := s.Store.Ping(limited); err != nil {
		return nil, err
	}
	return s.healthz(ctx, in)
}
