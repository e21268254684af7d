#!/bin/sh
# One-shot service: Superset's metadata schema, its roles, the administrator, and the connection to the published marts.
set -eu
superset db upgrade
superset init
python /opt/superset/bootstrap.py
