#!/bin/sh
# Resolve the two environments that exist only in images, with hashes: Celery's packages on top of requirements.lock,
# and Superset's own environment. Run it after `make lock`. Usage: deploy/lock.sh
set -eu
cd "$(dirname "$0")/.."
compile() {
    .venv-bootstrap/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"
}
# requirements.lock holds the rest already, so only what it lacks is written down
present=$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock | sort -u)
# shellcheck disable=SC2086  # one word per flag is meant
compile --constraint requirements.lock $present --output-file deploy/airflow/celery.lock deploy/airflow/celery.in
sed -i '/^#/d' deploy/airflow/celery.lock
compile --output-file deploy/superset/requirements.lock deploy/superset/requirements.in
