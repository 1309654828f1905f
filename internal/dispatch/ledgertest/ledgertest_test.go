package ledgertest_test

import (
	"testing"

	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) (a, b ledgertest.Ledger) {
		var m ledgertest.Memory
		return &m, &m
	})
}
