#!/bin/bash
# Dumps the database into /backup, and ends well only where the dump can be read back whole.
set -euo pipefail
# shellcheck source=connection.sh
. "$(dirname "$0")/connection.sh"

name=$(date -u +%Y-%m-%dT%H-%M-%SZ).dump
cd /backup
# What an earlier attempt of this pod left.
rm -f ./*.dump ./*.sha256
pg_dump --dbname="$DATABASE" --no-password --format=custom --lock-wait-timeout=60s --file="$name"

pg_restore --list "$name" >contents
if ! grep -q ' TABLE DATA ' contents; then
    echo "The dump holds no table: does $DATABASE_URL_FILE name the right database, and has the" \
        "migration run?" >&2
    exit 1
fi
# The list is the head of the file. This decompresses every row of every table.
pg_restore --file=/dev/null "$name"
sha256sum "$name" >"$name.sha256"
echo "Dumped and read back $(grep -c ' TABLE DATA ' contents) tables: $name, $(stat -c %s "$name") bytes."
