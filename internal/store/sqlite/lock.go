package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"time"
)

// lock waits for the lock that the file at path stands for. One holder has it at a time, and
// loses it with its process. It is SQLite's own, which there is wherever SQLite is.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=exclusive"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	// The lock outlives the call.
	lasting := context.WithoutCancel(ctx)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		tx, err := db.BeginTx(lasting, nil)
		if err == nil {
			return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
		}
		if !busy(err) {
			return nil, errors.Join(err, db.Close())
		}
		if stopped := sleep(ctx, pause); stopped != nil {
			return nil, errors.Join(stopped, err, db.Close())
		}
	}
}
