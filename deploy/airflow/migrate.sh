#!/bin/sh
# One-shot service: databases and roles for Airflow and Superset, the warehouse's schema and passwords, Airflow's schema.
# Each step changes nothing where it is done already.
set -eu
python /opt/edupa/deploy/airflow/databases.py
edupa server start
airflow db migrate
