// Package provision says what a job is: its typed form, its two spellings (the message
// on the queue and the inputs of the workflow), the names of its stack, node and host,
// the classes of what can go wrong, and the events of its trace.
//
// It is pure, and everything points at it. A tour of the house, in reading order:
//
//   - placement decides where a tenant lands.
//   - provision (this package) says what a job is.
//   - pipeline turns a job into a tenant, one file per step.
//   - workflow reads what the workflow file declares, and types a job's inputs by it.
//   - dispatch starts one run per job.
//   - pulumi, hetzner, cloudflare, controlplane, github and actions are the edges: each
//     speaks to one outside party in its words, classifies its errors, and decides nothing.
//   - store and server are the control plane.
//   - sandbox plays the outside parties on loopback; stackprogram is the Pulumi program
//     that is used where no repository is named.
//
// Only the commands know both the middle and the edges. importtest holds that map.
package provision
