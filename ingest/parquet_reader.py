"""Read parquet in batches of rows. Columns of ID numbers must be text: a number has lost digits already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.contract import Contract
from ingest.problems import FileRejectedError
from ingest.tables import LINE, Batch, Table, find_header
from ingest.values import NUMERIC_CELL

BATCH_ROWS = 50_000


def read_parquet(path: Path, contract: Contract) -> Table:
    """Open a parquet file; its column names are the header, its rows are counted from 1.

    Raises:
        FileRejectedError: file.empty, file.damaged, header.missing_column, header.duplicate.
    """
    if path.stat().st_size == 0:
        raise FileRejectedError("file.empty")
    try:
        source = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FileRejectedError(
            "file.damaged", f"not a readable parquet file ({type(error).__name__})", detail_zh="不是可读的parquet文件"
        ) from None
    names = source.schema_arrow.names
    header = find_header([names], contract)
    marked = {column.name for column in contract.columns if column.long_number or column.kind in ("date", "id_number")}

    def batches() -> Iterator[Batch]:
        line = 1
        for record_batch in source.iter_batches(batch_size=BATCH_ROWS):
            frame = pl.DataFrame(pa.Table.from_batches([record_batch]))
            columns = []
            for position, name in enumerate(header.columns):
                series = frame.to_series(position).alias(name)
                if series.dtype == pl.Boolean:
                    series = series.cast(pl.Int8)
                is_number = series.dtype.is_numeric()
                series = series.cast(pl.String)
                if is_number and name in marked:
                    series = NUMERIC_CELL + series
                columns.append(series.alias(name))
            lines = pl.int_range(line, line + frame.height, dtype=pl.Int64, eager=True).alias(LINE)
            line += frame.height
            yield Batch(pl.DataFrame([*columns, lines]).with_columns(pl.col(pl.String).replace("", None)))

    return Table(None, None, header, 0, batches())
