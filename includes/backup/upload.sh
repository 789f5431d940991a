#!/bin/sh
# Sends the dump in /backup to the object store, reads it back, and removes dumps that are too old.
set -eu
# shellcheck source=store.sh
. "$(dirname "$0")/store.sh"

cd /backup
name=$(ls ./*.dump)
name=${name#./}
rclone copyto "$name" "$store/$name"

# Not what was sent, but what is there now.
if [ "$(rclone cat "$store/$name" | sha256sum)" != "$(sha256sum <"$name")" ]; then
    echo "s3://$BACKUP_LOCATION/$name is not what was sent: this backup cannot be trusted." >&2
    exit 1
fi
# It makes the backup complete: a restore looks for this file.
rclone copyto "$name.sha256" "$store/$name.sha256"
echo "Stored s3://$BACKUP_LOCATION/$name and read it back: the same $(stat -c %s "$name") bytes."

if [ "$BACKUP_RETENTION_DAYS" != 0 ]; then
    rclone delete "$store" --max-depth 1 --min-age "${BACKUP_RETENTION_DAYS}d" \
        --include '*.dump' --include '*.dump.sha256'
fi
