"""How gunicorn serves Superset: two processes with threads, traces on standard output."""

bind = "0.0.0.0:8088"
workers = 2
worker_class = "gthread"
threads = 8
timeout = 120
worker_tmp_dir = "/dev/shm"
accesslog = "-"
errorlog = "-"
limit_request_line = 8190
