"""One load by a peer in a process of its own: ``peers.py NAME DSN FILE``; prints seconds as JSON.

Runs in the peers' environment (benchmarks/requirements.lock) and imports nothing of edupa. Peers load text columns or
let the library choose types; none of them checks, pseudonymizes or keeps books.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def pandas_to_sql(dsn: str, path: str) -> None:
    """Pandas, every column as text, ``to_sql`` with its default method."""
    import pandas as pd
    import sqlalchemy as sa

    frame = pd.read_csv(path, dtype=str)
    engine = sa.create_engine(dsn.replace("postgresql://", "postgresql+psycopg2://"))
    frame.to_sql("pandas", engine, schema="bench", index=False, if_exists="replace", chunksize=10_000)


def polars_adbc(dsn: str, path: str) -> None:
    """Polars, every column as text, written through ADBC's binary COPY."""
    import polars as pl

    frame = pl.read_csv(path, infer_schema=False)
    frame.write_database("bench.polars_adbc", dsn, engine="adbc", if_table_exists="replace")


def dlt_copy(dsn: str, path: str) -> None:
    """Dlt, arrow batches from polars, its csv loader file format."""
    import dlt
    import polars as pl

    folder = tempfile.mkdtemp(prefix="edupa-bench-dlt-")
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    frame = pl.read_csv(path, infer_schema=False)
    frame.columns = [f"c{place}" for place in range(frame.width)]
    pipeline = dlt.pipeline(
        "bench", pipelines_dir=folder, dataset_name="bench", destination=dlt.destinations.postgres(dsn)
    )
    pipeline.run(
        frame.to_arrow(compat_level=pl.CompatLevel.oldest()),
        table_name="dlt_copy",
        write_disposition="replace",
        loader_file_format="csv",
    )


def earthmover_copy(dsn: str, path: str) -> None:
    """Earthmover, csv to csv without a transformation, then a copy by psql: it has no database destination."""
    folder = Path(tempfile.mkdtemp(prefix="edupa-bench-earthmover-"))
    with Path(path).open(encoding="utf-8") as handle:
        header = handle.readline().strip().split(",")
    columns = [f"c{place}" for place in range(len(header))]
    line = ",".join("{{" + name + "}}" for name in header)
    (folder / "line.jinja").write_text(line, encoding="utf-8")
    (folder / "earthmover.yaml").write_text(
        f"version: 2\nconfig:\n  output_dir: {folder}/out\n  state_file: {folder}/runs.csv\n  show_progress: false\n"
        f"sources:\n  register:\n    file: {path}\n    header_rows: 1\n"
        f"destinations:\n  register:\n    source: $sources.register\n    template: {folder}/line.jinja\n"
        "    extension: csv\n    linearize: true\n",
        encoding="utf-8",
    )
    program = str(Path(sys.executable).with_name("earthmover"))
    subprocess.run([program, "run", "-c", str(folder / "earthmover.yaml")], check=True, capture_output=True)
    subprocess.run(
        [
            os.environ["EDUPA_BENCH_PSQL"], dsn, "-q", "-v", "ON_ERROR_STOP=1", "-c",
            "create table bench.earthmover_copy (" + ", ".join(f"{name} text" for name in columns) + ")", "-c",
            f"\\copy bench.earthmover_copy from '{folder}/out/register.csv' with (format csv)",
        ],
        check=True,
    )  # fmt: skip


PEERS = {
    "pandas_to_sql": pandas_to_sql,
    "polars_adbc": polars_adbc,
    "dlt": dlt_copy,
    "earthmover": earthmover_copy,
}

if __name__ == "__main__":
    if sys.argv[1] in ("polars_adbc", "dlt"):
        import polars  # noqa: F401 - starting the library is nobody's load
    started = time.monotonic()
    PEERS[sys.argv[1]](sys.argv[2], sys.argv[3])
    print(json.dumps({"wall": time.monotonic() - started}))
