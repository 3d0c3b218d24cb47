"""The columns of a Parquet file, read in a process of its own.

Parquet packs: a few kilobytes may stand for terabytes, and a native reader of hostile bytes may
crash. So this file is also a program: it reads Parquet on stdin, within bounds, and writes CSV to
stdout. It imports nothing of this package.
"""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

MAX_ROWS = 2_000_000
MAX_BYTES = 2**28
"""Of the cells together, as text."""
MAX_CELL = 4096
"""Characters. Paths of files have no more."""

_MEMORY = 2**32  # bytes of addresses; where the system has no such limit, the other bounds hold
_SECONDS = 60
_TOLD = 3  # the exit status where stderr says what is wrong


class ParquetError(ValueError):
    """A file that is not read; the message says why, after its name."""


def read_parquet(content: bytes, columns: Sequence[str]) -> Iterator[list[str]]:
    """The names of all columns of a file, then, of each row, "1" or "" and the cells of `columns`.

    "1" says that a cell is null. The rows are left out where a column is not there once.

    Args:
      content: the bytes of the file.
      columns: their names, in the order wanted.

    Raises:
      ParquetError: it is no Parquet file, or damaged, or beyond a bound.
    """
    # A numerical library with many threads would take many gigabytes of addresses.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__, *columns],
            input=content,
            capture_output=True,
            timeout=_SECONDS,
            env={**os.environ, **single, "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise ParquetError(f"takes more than {_SECONDS} seconds to read: write it anew") from error
    if done.returncode == _TOLD:
        raise ParquetError(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise ParquetError("is no Parquet file, or damaged: write it anew")
    return csv.reader(io.TextIOWrapper(io.BytesIO(done.stdout), "utf-8", newline=""))


def _main(columns: Sequence[str]) -> int:
    _bound_memory()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())
    try:
        parquet = pq.ParquetFile(io.BytesIO(sys.stdin.buffer.read()))
        names = parquet.schema_arrow.names
        write = csv.writer(sys.stdout).writerow
        write([name[:MAX_CELL] for name in names])
        if any(names.count(name) != 1 for name in columns):
            return 0
        if parquet.metadata.num_rows > MAX_ROWS:
            return _tell(f"lists {parquet.metadata.num_rows} images, more than {MAX_ROWS}")
        rows = room = 0
        batches = parquet.iter_batches(1024, columns=list(columns), use_threads=False)
        for batch in batches:
            rows += len(batch)
            cells = [batch.column(batch.schema.get_field_index(n)).to_pylist() for n in columns]
            for row in zip(*cells, strict=True):
                texts = [str(cell)[: MAX_CELL + 1] for cell in row]
                if max(map(len, texts)) > MAX_CELL:
                    return _tell(f"has a cell of more than {MAX_CELL} characters")
                room += sum(map(len, texts))
                write(["1" if None in row else "", *texts])
            if rows > MAX_ROWS or room > MAX_BYTES:
                return _tell(f"has more than {MAX_ROWS} rows or {MAX_BYTES >> 20} MiB of text")
    except MemoryError:  # Arrow's own is one
        return _tell(f"unpacks to more than {_MEMORY >> 30} GiB")
    return 0


def _tell(what: str) -> int:
    sys.stderr.write(f"{what}, the most that is read: write it anew")
    return _TOLD


def _bound_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # on Windows, or where the system allows less


if __name__ == "__main__":
    status = _main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # Arrow's threads may crash while Python ends
