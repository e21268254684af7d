#!/bin/sh
# Airflow opens the file of its users' passwords for writing, which a secret does not allow: it gets a copy in memory.
set -eu
umask 077
cp "$EDUPA_SECRETS_DIR/airflow_users" "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
exec airflow api-server
