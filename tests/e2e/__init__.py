"""Tests of the whole: extracts in, releases out, with kills, missing files and Airflow."""
