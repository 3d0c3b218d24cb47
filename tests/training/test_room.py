"""A step that does not fit into memory is told before it runs."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from twelve_steps import train

from lupi_jax.cli import main
from lupi_jax.errors import InputError
from lupi_jax.training import room
from lupi_jax.training.room import check_room, free_memory, needed

# 3 + 2 + 7 - 2 GB: the new state takes the place of the old one.
STEP = SimpleNamespace(
    argument_size_in_bytes=3_000_000_000,
    output_size_in_bytes=2_000_000_000,
    temp_size_in_bytes=7_000_000_000,
    alias_size_in_bytes=2_000_000_000,
)


def device(platform: str, limit: int | None) -> Any:
    stats = None if limit is None else {"bytes_limit": limit}
    return SimpleNamespace(platform=platform, device_kind="thing", memory_stats=lambda: stats)


def on(monkeypatch: pytest.MonkeyPatch, devices: list[Any], free: int | None) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(room, "free_memory", lambda: free)


def test_a_step_that_a_gpu_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert needed(STEP) == 10_000_000_000
    on(monkeypatch, [device("gpu", 9_999_999_999)], free=0)
    with pytest.raises(InputError) as caught:
        check_room(STEP)
    assert str(caught.value) == (
        "a step needs 10.0 GB, but a thing has only 10.0 GB: lower batch.identities, "
        "batch.images or data.image_size, or use a smaller model.backbone or more devices"
    )
    on(monkeypatch, [device("gpu", 10_000_000_000)], free=0)
    check_room(STEP)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("devices", "free", "warned"),
    # 7 GB of the 10 are not there yet, and half of that again is not counted.
    [(1, 10_499_999_999, True), (1, 10_500_000_000, False), (2, 20_999_999_999, True)],
)
def test_a_step_that_a_cpu_has_no_room_for_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    devices: int,
    free: int,
    warned: bool,
) -> None:
    on(monkeypatch, [device("cpu", None)] * devices, free)
    check_room(STEP)
    said = capfd.readouterr().err
    size, left = 10.5 * devices, f"{free / 1e9:.1f}"
    start = f"warning: a step needs about {size} GB more memory, but only {left} GB are free, so"
    assert said.startswith(start) == warned
    assert said.count("\n") == warned


def test_where_nothing_is_known_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, [device("cpu", None)], free=None)
    check_room(STEP)
    on(monkeypatch, [device("tpu", None)], free=1)
    check_room(STEP)
    check_room(None)
    assert capfd.readouterr().err == ""


def test_a_run_is_told_before_its_first_step(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = train(people, tmp_path / "run", steps=1)
    gpu = SimpleNamespace(local_devices=lambda: [device("gpu", 1_000_000)])
    monkeypatch.setattr(room, "jax", gpu)
    assert main(command) == 2
    err = capfd.readouterr().err
    assert re.search(
        r"^lupi: a step needs 0\.\d GB, but a thing has only 0\.0 GB", err, re.MULTILINE
    )
    assert "step 1/1" not in err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    monkeypatch.undo()
    monkeypatch.setattr(room, "free_memory", lambda: 1_000_000)
    assert main(command) == 0
    err = capfd.readouterr().err
    assert 0 < err.find("warning: a step needs about 0.") < err.find("step 1/1")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:   5000000 kB\n"}


def test_free_memory_is_the_least_of_the_machine_and_its_groups(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
    root = write(tmp_path, MACHINE)
    assert free_memory(root) == 5_120_000_000
    job = {
        "proc/self/cgroup": "0::/slurm/job\n",
        "sys/fs/cgroup/slurm/job/memory.max": "max\n",
        "sys/fs/cgroup/slurm/job/memory.current": "1\n",
        "sys/fs/cgroup/slurm/memory.max": "4000000000\n",
        "sys/fs/cgroup/slurm/memory.current": "3000000000\n",
        "sys/fs/cgroup/slurm/memory.stat": "anon 1\ninactive_file 500000000\n",
    }
    assert free_memory(write(root, job)) == 1_500_000_000
    container = {
        "proc/self/cgroup": "0::/../elsewhere\n",
        "sys/fs/cgroup/memory.max": "2000000000\n",
        "sys/fs/cgroup/memory.current": "1900000000\n",
    }
    assert free_memory(write(root, container)) == 100_000_000


def test_the_first_version_of_groups(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory/job"
    old = {
        "proc/self/cgroup": "12:cpu:/job\n5:memory:/job\n",
        f"{folder}/memory.limit_in_bytes": "3000\n",
        f"{folder}/memory.usage_in_bytes": "2900\n",
        f"{folder}/memory.stat": "inactive_file 7\ntotal_inactive_file 50\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "7\n",
    }
    assert free_memory(write(tmp_path, MACHINE | old)) == 150
