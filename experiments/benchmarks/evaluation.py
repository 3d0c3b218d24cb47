"""How long evaluation takes, compared with a loop over queries, and by the size of the gallery.

    python experiments/benchmarks/evaluation.py --out experiments/benchmarks/evaluation.md

Two measurements on seeded random features, in float32:

* From distances to figures: our evaluation, and the algorithm that the evaluators of the field's
  released code share (reid libraries, AGW, LUPI), written anew. That algorithm sorts the whole
  matrix with one `np.argsort`, then loops over the queries. For SYSU-MM01 the loop drops camera 2
  for queries of camera 3 and finds the order of the identities by `np.unique`. Like the released
  code it divides precisions one Python number at a time; a second form divides arrays. All take the
  same distances, in turns, and have to give the same figures.
* From features to figures: our evaluation, for galleries of 1e3 to 1e6 images in a memory-mapped
  file, each in its own process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.evaluation import feature_metrics, retrieval_metrics
from lupi_jax.evaluation.ranking import nearest
from lupi_jax.training.run import versions

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUERIES, WIDTH, SHOTS = 100, 256, 10
ROUNDS = 3


class Case(NamedTuple):
    """One gallery and its queries.

    Attributes:
      distances: [q, g] float32.
      query_ids: [q].
      gallery_ids: [g].
      query_cameras: [q].
      gallery_cameras: [g].
    """

    distances: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray


Figures = tuple[np.ndarray, float, float]
"""CMC up to rank 20, mAP, mINP."""


def features_of(ids: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """[n, width] float32 rows of length 1; rows of one identity are a little closer."""
    people = np.random.default_rng(0).standard_normal((ids.max() + 1, width), np.float32)
    return spread(people[ids], rng)


def spread(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n, width] float32 rows of length 1, one around each centre."""
    values = centres + 3 * rng.standard_normal(centres.shape, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def regdb() -> list[Case]:
    """One split: 206 identities with ten images per modality."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(206), 10)
    query, gallery = (features_of(ids, WIDTH, rng) for _ in range(2))
    return [Case(1 - query @ gallery.T, ids, ids, np.full(2060, 2), np.full(2060, 1))]


def sysu() -> list[Case]:
    """Ten galleries of a multi-shot all-search: 3803 queries, 3010 images of 96 identities."""
    rng = np.random.default_rng(2)
    query_ids = np.sort(rng.integers(96, size=3803))
    query_cameras = rng.choice([3, 6], 3803)
    query = features_of(query_ids, WIDTH, rng)
    cases = []
    for _ in range(10):
        # 301 pairs of identity and camera have ten images each.
        places = np.sort(rng.choice(96 * 4, 301, replace=False))
        ids = np.repeat(places // 4, 10)
        cameras = np.array([1, 2, 4, 5])[np.repeat(places % 4, 10)]
        gallery = features_of(ids, WIDTH, rng)
        cases.append(Case(1 - query @ gallery.T, query_ids, ids, query_cameras, cameras))
    return cases


def by_loop(case: Case, identities: bool, by_number: bool, stable: bool = False) -> Figures:
    """The usual evaluator's figures.

    Args:
      case: the gallery and its queries.
      identities: True for SYSU-MM01's camera rule and CMC over identities, False for RegDB's CMC
        over images.
      by_number: whether precisions are divided one Python number at a time.
      stable: whether equal distances keep the gallery's order; the usual evaluator leaves it open.
    """
    order = np.argsort(case.distances, axis=1, kind="stable" if stable else None)
    ranked = case.gallery_ids[order]
    matches = (ranked == case.query_ids[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for q, (identity, camera) in enumerate(zip(case.query_ids, case.query_cameras, strict=True)):
        if identities:
            remove = (camera == 3) & (case.gallery_cameras[order[q]] == 2)
        else:
            remove = case.gallery_cameras[order[q]] == camera
        keep = np.invert(remove)
        match = matches[q][keep]
        if not match.any():
            continue
        if identities:
            shown = ranked[q][keep]
            first = np.unique(shown, return_index=True)[1]
            shown = np.array([shown[i] for i in sorted(first)])
            curve = (shown == identity).astype(np.int32).cumsum()
        else:
            curve = match.cumsum()
        curve[curve > 1] = 1
        curves.append(curve[:20])
        found = match.cumsum()
        last = np.where(match == 1)[0].max()
        penalties.append(found[last] / (last + 1.0))
        if by_number:
            precision = np.asarray([x / (i + 1.0) for i, x in enumerate(found)])
        else:
            precision = found / np.arange(1.0, len(found) + 1)
        precisions.append((precision * match).sum() / match.sum())
    return np.mean(curves, axis=0), float(np.mean(precisions)), float(np.mean(penalties))


def ours(case: Case, identities: bool) -> Figures:
    """The same by `retrieval_metrics`, its mask included."""
    excluded, cmc = None, "image"
    if identities:
        excluded = (case.query_cameras == 3)[:, None] & (case.gallery_cameras == 2)
        cmc = "identity"
    found = retrieval_metrics(case.distances, case.query_ids, case.gallery_ids, excluded, cmc)
    return found.cmc, found.mean_ap, found.mean_inp


def compare(cases: list[Case], identities: bool, rounds: int) -> dict[str, float]:
    """Median seconds of each evaluator for all cases, in turns, after checking equal figures."""
    for case in cases:
        for one, other in zip(
            by_loop(case, identities, False, True), ours(case, identities), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    ways: dict[str, Callable[[Case], Figures]] = {
        "loop": lambda case: by_loop(case, identities, True),
        "arrays": lambda case: by_loop(case, identities, False),
        "ours": lambda case: ours(case, identities),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            for case in cases:
                way(case)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def write_gallery(folder: Path, size: int) -> None:
    """`size` images of `size` / `SHOTS` identities, and one more of `QUERIES` of them each."""
    rng = np.random.default_rng(size)
    gallery = np.lib.format.open_memmap(folder / "gallery.npy", "w+", np.float32, (size, WIDTH))
    people = size // SHOTS
    queried = np.linspace(0, people - 1, QUERIES).astype(int)
    query = []
    for start in range(0, people, 1000):
        ids = np.arange(start, min(start + 1000, people))
        centres = rng.standard_normal((len(ids), WIDTH), np.float32)
        own = queried[(queried >= start) & (queried <= ids[-1])] - start
        rows = np.repeat(np.arange(len(ids)), SHOTS)
        gallery[start * SHOTS : (ids[-1] + 1) * SHOTS] = spread(centres[rows], rng)
        query.append(spread(centres[own], rng))
    np.save(folder / "query.npy", np.concatenate(query))
    np.save(folder / "query_ids.npy", queried)


def grow(folder: Path) -> dict[str, float]:
    """Seconds and peak memory of one evaluation and one search, in this process."""
    query, query_ids = (np.load(folder / f"{name}.npy") for name in ("query", "query_ids"))
    gallery = np.load(folder / "gallery.npy", mmap_mode="r")
    gallery_ids = np.repeat(np.arange(len(gallery) // SHOTS), SHOTS)
    feature_metrics(
        query, gallery[:1000], query_ids, gallery_ids[:1000], cmc="identity"
    )  # threads and imports
    before = peak_memory()
    start = time.perf_counter()
    found = feature_metrics(query, gallery, query_ids, gallery_ids, cmc="identity")
    evaluated, peak = time.perf_counter() - start, peak_memory()
    start = time.perf_counter()
    nearest(query, gallery, 10)
    return {
        "evaluation": evaluated,
        "search": time.perf_counter() - start,
        "before": before,
        "peak": peak,
        "mean_ap": found.mean_ap,
    }


def peak_memory() -> float:
    """Peak memory of this process so far, in MiB, with the pages of mapped files."""
    # On Linux `resource.getrusage` starts from the parent's peak.
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 2**10


def measure_growth() -> list[dict[str, float]]:
    """`grow` for each of `SIZES`, each in its own process."""
    return [{"size": size, **_apart("--grow", size)} for size in SIZES]


def _apart(option: str, size: int) -> Any:
    """What this script prints with `option` and the folder of a gallery."""
    with tempfile.TemporaryDirectory() as folder:
        write_gallery(Path(folder), size)
        command = [sys.executable, __file__, option, folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    return json.loads(done.stdout)


def processor() -> str:
    """The processor's name, if the system tells it, and its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        name = platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def report(compared: dict[str, dict[str, float]], grown: list[dict[str, float]]) -> str:
    """Both measurements in Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [
        f"""# How long evaluation takes

    python experiments/benchmarks/evaluation.py --out evaluation.md

{processor()}, NumPy on as many threads, float32; Python {platform.python_version()}, {packages}.

## From distances to figures

Seconds to compute mAP, mINP and CMC, medians of {ROUNDS} rounds of turns. All three columns start
from the same distances and give the same figures to 1e-12. "Loop" is the algorithm of the
evaluators in the field's released code: it sorts the matrix, goes through the queries, and divides
precisions number by number. "Arrays divided" is the same loop with the division by arrays.

| what | loop | arrays divided | ours | ratio | ratio to arrays divided |
|---|---|---|---|---|---|"""
    ]
    for name, seconds in compared.items():
        loop, arrays, own = (seconds[way] for way in ("loop", "arrays", "ours"))
        cells = (f"{loop:.2f}", f"{arrays:.3f}", f"{own:.4f}", f"{loop / own:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {arrays / own:.1f} |")
    lines.append(
        f"""
## From features to figures

Evaluation, and search of the ten nearest, by the size of the gallery: {QUERIES} queries,
d = {WIDTH}, {SHOTS} images per identity, CMC over identities. The gallery is a memory-mapped file
in the page cache. Each row is one run in its own process. Peak memory includes the pages of the
file that were read, which the system takes back when it needs them.

| gallery | file, MiB | evaluation, s | search, s | peak before, MiB | peak, MiB | mAP |
|---|---|---|---|---|---|---|"""
    )
    for row in grown:
        cells = (f"{row[name]:.3f}" for name in ("evaluation", "search"))
        memory = (f"{x:.0f}" for x in (row["before"], row["peak"]))
        file = 4 * WIDTH * row["size"] / 2**20
        lines.append(
            f"| {row['size']:,} | {file:.0f} | {' | '.join(cells)} | {' | '.join(memory)} "
            f"| {100 * row['mean_ap']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description="Measure how long evaluation takes.")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="file for the report")
    parser.add_argument("--grow", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        print(json.dumps(grow(options.grow)))
        return
    compared = {
        "RegDB, one split: 2060 x 2060, 206 identities": compare(regdb(), False, ROUNDS),
        "SYSU-MM01, multi-shot, ten trials: 3803 x 3010 each": compare(sysu(), True, ROUNDS),
    }
    print(compared, file=sys.stderr)
    text = report(compared, measure_growth())
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
