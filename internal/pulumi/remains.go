package pulumi

import (
	"fmt"
	"os"
)

// Remains says where a run that is over may have left something: nobody is there to tell
// that another run is not going to clean up.
type Remains struct {
	TempDir    string // as [Program.TempDir]
	BackendURL string // as [Program.BackendURL]
}

// Clean removes what runs that were killed have left: private folders, with the tokens in
// them, and in a backend that is a folder the locks of their pulumi commands and what these
// had not written to its end. What belongs to a run that may still be alive stays. It
// returns what it did, a sentence each.
//
// In a bucket nothing proves whose a lock is, so it stays there. Pulumi's own service gives
// up a dead update's lock by itself.
func (r Remains) Clean() []string {
	if r.TempDir == "" {
		r.TempDir = os.TempDir()
	}
	var did []string
	// Before the locks, so that whoever waits for one finds everything in order.
	if n := sweep(r.TempDir); n > 0 {
		did = append(did, fmt.Sprintf("removed %d private folders that a run which was killed had left", n))
	}
	c := &command{backendURL: r.BackendURL}
	if c.mend() {
		did = append(did, "removed what a killed pulumi had not written to its end in the backend")
	}
	if c.breakDead() {
		did = append(did, "released the lock that a killed pulumi had left on its stack")
	}
	return did
}
