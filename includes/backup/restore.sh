#!/bin/bash
# Restores the dump in /backup in one transaction: all of it, or nothing. A database that holds
# anything is left alone, unless RESTORE_OVERWRITE is true.
set -euo pipefail
# shellcheck source=connection.sh
. "$(dirname "$0")/connection.sh"

query() {
    psql --dbname="$DATABASE" --no-password --no-psqlrc --quiet --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 "$@"
}

dump=$(ls /backup/*.dump)
# Every row is read before anything is touched.
pg_restore --file=/dev/null "$dump"

tables="SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND relnamespace::regnamespace::text !~ '^(pg_.*|information_schema)\$'"
held=$(query --command="$tables")
if [ "$held" != 0 ] && [ "$RESTORE_OVERWRITE" != true ]; then
    echo "The database is not empty: it holds $held tables, views and sequences. Restore into an" \
        "empty one, or say that all of it may go (overwrite: true)." >&2
    exit 1
fi

{
    echo "BEGIN; SET lock_timeout = '60s';"
    if [ "$RESTORE_OVERWRITE" = true ]; then
        echo 'DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public;'
    fi
    pg_restore --no-owner --no-privileges --file=- "$dump"
    # Only now: if pg_restore breaks off, the server undoes what it was told.
    echo 'COMMIT; ANALYZE;'
} | query --output=/dev/null
echo "Restored ${dump#/backup/}: $(query --command="$tables") tables, views and sequences."
