"""Reads columns of a Parquet file in a separate process.

Parquet is compressed, so a few kilobytes may unpack to terabytes, and hostile bytes may crash its
native reader. So this file is also a program. It reads Parquet from stdin, within limits, and
writes CSV to stdout. It imports nothing else from this package.
"""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

MAX_ROWS = 2_000_000
MAX_BYTES = 2**28
"""Limit for the text of all cells together."""
MAX_CELL = 4096
"""Limit in characters for one cell. Paths of files are not longer."""

_MEMORY = 2**32  # bytes of address space; on systems without this limit the other ones apply
_SECONDS = 60
_TOLD = 3  # the exit status if stderr says what is wrong


class ParquetError(ValueError):
    """A file cannot be read; the message says why, and is meant to follow the file's name."""


def read_parquet(content: bytes, columns: Sequence[str], optional: str = "") -> Iterator[list[str]]:
    """The names of all columns, and then the rows: "1" or "", followed by the cells of `columns`.

    "1" means that a cell is null. If a column is missing or there twice, no rows follow.

    Args:
      content: the bytes of the file.
      columns: names of the columns, in the order in which to return them.
      optional: name of a last column. It may be missing; null in it gives an empty cell.

    Raises:
      ParquetError: the file is not Parquet, is damaged, or exceeds a limit.
    """
    # With many threads, a numerical library would take gigabytes of address space.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__, *columns, optional],
            input=content,
            capture_output=True,
            timeout=_SECONDS,
            env={**os.environ, **single, "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise ParquetError(f"takes more than {_SECONDS} seconds to read: write it again") from error
    if done.returncode == _TOLD:
        raise ParquetError(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise ParquetError("is not a Parquet file, or damaged: write it again")
    return csv.reader(io.TextIOWrapper(io.BytesIO(done.stdout), "utf-8", newline=""))


def _main(columns: Sequence[str], optional: str) -> int:
    _bound_memory()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())
    try:
        parquet = pq.ParquetFile(io.BytesIO(sys.stdin.buffer.read()))
        names = parquet.schema_arrow.names
        write = csv.writer(sys.stdout).writerow
        write([name[:MAX_CELL] for name in names])
        if any(names.count(name) != 1 for name in columns) or names.count(optional) > 1:
            return 0
        wanted = [*columns, *[optional] * (optional in names)]
        if parquet.metadata.num_rows > MAX_ROWS:
            return _tell(f"lists {parquet.metadata.num_rows} images, more than {MAX_ROWS}")
        rows = room = 0
        batches = parquet.iter_batches(1024, columns=wanted, use_threads=False)
        for batch in batches:
            rows += len(batch)
            cells = [batch.column(batch.schema.get_field_index(n)).to_pylist() for n in wanted]
            for row in zip(*cells, strict=True):
                null, *others = None in row[: len(columns)], *row[len(columns) :]
                last = ["" if cell is None else cell for cell in others]
                texts = [str(cell)[: MAX_CELL + 1] for cell in (*row[: len(columns)], *last)]
                if max(map(len, texts)) > MAX_CELL:
                    return _tell(f"has a cell of more than {MAX_CELL} characters")
                room += sum(map(len, texts))
                write(["1" if null else "", *texts])
            if rows > MAX_ROWS or room > MAX_BYTES:
                return _tell(f"has more than {MAX_ROWS} rows or {MAX_BYTES >> 20} MiB of text")
    except MemoryError:  # Arrow's error for this is a subclass
        return _tell(f"unpacks to more than {_MEMORY >> 30} GiB")
    return 0


def _tell(what: str) -> int:
    sys.stderr.write(f"{what}, the limit: write a smaller file")
    return _TOLD


def _bound_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # Windows, or a system that allows less


if __name__ == "__main__":
    status = _main(sys.argv[1:-1], sys.argv[-1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a normal exit may crash in Arrow's threads
