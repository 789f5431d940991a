#!/bin/sh
# Fetches a dump from the object store into /backup: the one that RESTORE_DUMP names, or the latest.
set -eu
# shellcheck source=store.sh
. "$(dirname "$0")/store.sh"

found=$(rclone lsf "$store" --max-depth 1 --files-only --include '*.dump.sha256' | sort)
if [ -z "$found" ]; then
    echo "There is no complete dump in s3://$BACKUP_LOCATION." >&2
    exit 1
fi
if [ "$RESTORE_DUMP" = latest ]; then
    name=$(echo "$found" | tail -n 1)
    name=${name%.sha256}
elif echo "$found" | grep -qxF "$RESTORE_DUMP.sha256"; then
    name=$RESTORE_DUMP
else
    echo "s3://$BACKUP_LOCATION has no complete dump called $RESTORE_DUMP, but these:" >&2
    echo "$found" | sed 's/\.sha256$//' >&2
    exit 1
fi

cd /backup
# What an earlier attempt of this pod left.
rm -f ./*.dump ./*.sha256
rclone copyto "$store/$name" "$name"
rclone copyto "$store/$name.sha256" "$name.sha256"
if ! sha256sum -c "$name.sha256"; then
    echo "s3://$BACKUP_LOCATION/$name is not what was backed up: name an earlier dump." >&2
    exit 1
fi
