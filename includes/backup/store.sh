#!/bin/sh
# Sourced. Where dumps are kept: `store` for rclone, and the keys to it, which rclone reads from
# the environment.

AWS_ACCESS_KEY_ID=$(cat /run/secrets/backup/AWS_ACCESS_KEY_ID)
AWS_SECRET_ACCESS_KEY=$(cat /run/secrets/backup/AWS_SECRET_ACCESS_KEY)
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
# shellcheck disable=SC2034  # used by what sources this
store=":s3:$BACKUP_LOCATION"
