#!/bin/bash
# Sourced. Splits the URL of the database into DATABASE, without the password, and PGPASSWORD, because
# what stands among a program's arguments can be seen from outside.

url=$(<"$DATABASE_URL_FILE")
# The application takes this spelling too, PostgreSQL's own programs do not.
url=${url/#postgresql+asyncpg:/postgresql:}
authority=${url#*://}
authority=${authority%%[/?]*}
credentials=${authority%@*}
DATABASE=$url
if [[ $authority == *@* && $credentials == *:* ]]; then
    DATABASE=${url/"$credentials@"/"${credentials%%:*}@"}
    encoded=${credentials#*:}
    encoded=${encoded//\\/\\\\}
    # Percent-encoding, decoded.
    PGPASSWORD=$(printf '%b' "${encoded//%/\\x}")
    export PGPASSWORD
fi
# A time limit of the application's is none of a dump's.
export PGCONNECT_TIMEOUT=30 PGAPPNAME="$HOSTNAME"
# shellcheck disable=SC2034  # used by what sources this
readonly DATABASE
