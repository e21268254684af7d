#!/bin/bash
# PostgreSQL wants its key owned by its own account with mode 0600; a Compose secret belongs to whoever made the file,
# and a clone may be closed to others. So key, certificate and settings are copied into memory for the postgres account;
# then the image's own entrypoint goes on.
set -euo pipefail
place() { install --owner=postgres --group=postgres --mode="$1" "$2" "/run/edupa/$3"; }
place 0600 /run/secrets/postgres_tls_key server.key
place 0644 /run/secrets/postgres_tls_cert server.crt
place 0644 /etc/edupa/postgresql.conf postgresql.conf
place 0644 /etc/edupa/pg_hba.conf pg_hba.conf
exec docker-entrypoint.sh "$@"
