"""Where compiled programs are kept."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import jax, jax.numpy as jnp
from lupi_jax.runtime.compilation import keep_programs
keep_programs()
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))
print(jax.config.jax_compilation_cache_dir)
"""


def folder_of(**environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=inherited | always | environment,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_programs_are_kept_for_the_user(tmp_path: Path) -> None:
    folder = Path(folder_of(XDG_CACHE_HOME=str(tmp_path)))
    assert folder.parent == tmp_path / "lupi_jax"
    assert list(folder.glob("jit__lambda*-cache"))


def test_a_folder_that_jax_has_already_stays(tmp_path: Path) -> None:
    given = str(tmp_path / "given")
    own = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": given}
    assert folder_of(**own) == given
    assert not (tmp_path / "lupi_jax").exists()


def test_a_home_that_is_none_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert folder_of(XDG_CACHE_HOME=str(tmp_path / "file")) == "None"


def test_a_program_that_was_cut_off_is_compiled_and_kept_again(tmp_path: Path) -> None:
    folder = Path(folder_of(XDG_CACHE_HOME=str(tmp_path)))
    (program,) = folder.glob("jit__lambda*-cache")
    whole = program.read_bytes()
    time = program.with_name(program.name.removesuffix("-cache") + "-atime")
    for damage in (time.unlink, lambda: time.write_bytes(b"1")):
        program.write_bytes(whole[:10])
        damage()
        assert folder_of(XDG_CACHE_HOME=str(tmp_path)) == str(folder)
        assert len(program.read_bytes()) > 10
        assert time.stat().st_size == 8


def test_a_program_that_was_cut_off_is_compiled_without_a_word(tmp_path: Path) -> None:
    folder = Path(folder_of(XDG_CACHE_HOME=str(tmp_path)))
    (program,) = folder.glob("jit__lambda*-cache")
    program.write_bytes(program.read_bytes()[:10])
    assert folder_of(XDG_CACHE_HOME=str(tmp_path)) == str(folder)
