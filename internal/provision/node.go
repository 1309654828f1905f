package provision

import (
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// A Node is a server that the control plane knows, as its API spells it.
type Node struct {
	ID     string           `json:"node_id"`
	Region placement.Region `json:"region"`
	Host   string           `json:"host"` // address or name, used for SSH and as the target of DNS
	Status NodeStatus       `json:"status"`
	// Dedicated nodes belong to TenantID alone.
	Dedicated        bool       `json:"dedicated"`
	TenantID         string     `json:"tenant_id,omitempty"`
	Provider         string     `json:"provider"` // "hetzner"
	ProviderServerID string     `json:"provider_server_id,omitempty"`
	IPv6             string     `json:"ipv6,omitempty"`
	DBHost           string     `json:"db_host,omitempty"`    // dedicated stacks
	RedisHost        string     `json:"redis_host,omitempty"` // dedicated stacks
	MemoryPct        *float64   `json:"memory_pct,omitempty"` // 0 to 100, as the node's agent last pushed it
	CPUPct           *float64   `json:"cpu_pct,omitempty"`
	DiskPct          *float64   `json:"disk_pct,omitempty"`
	TenantCount      int        `json:"tenant_count"`
	MetricsAt        *time.Time `json:"metrics_at,omitempty"`
	CreatedAt        time.Time  `json:"created_at,omitzero"`
}

// A NodeStatus says whether tenants may be put on a node.
type NodeStatus string

// The statuses of a node.
const (
	NodeActive   NodeStatus = "active"
	NodeDraining NodeStatus = "draining" // keeps its tenants, gets no new ones
	NodeDisabled NodeStatus = "disabled"
)

// A Server is a machine at Hetzner that a stack holds.
type Server struct {
	Role     Role   `json:"role"`
	ID       string `json:"server_id"`
	Name     string `json:"name,omitempty"`
	IPv4     string `json:"server_ip"`
	IPv6     string `json:"server_ipv6,omitempty"` // the first address of its network; empty when it has none
	Location string `json:"location,omitempty"`
	Type     string `json:"server_type,omitempty"`
}

// A Role is what a server of a stack is for. A shared server is an [App].
type Role string

// The roles.
const (
	App   Role = "app"
	DB    Role = "db"
	Redis Role = "redis"
)
