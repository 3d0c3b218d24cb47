"""That `tests/lowest.txt` has the lowest versions that `pyproject.toml` allows."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<lowest>[\d.]+)(?P<marker>; .*)?")


def lowest_versions() -> list[str]:
    """`name==version` of each dependency, of the extras too, with its marker where it has one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = set()
    for requirement in (each for group in groups for each in group):
        match = REQUIREMENT.fullmatch(requirement)
        assert match, f"{requirement}: write it as name>=version"
        lines.add(f"{match['name']}=={match['lowest']}{match['marker'] or ''}")
    return sorted(lines, key=str.lower)


def test_the_constraints_are_the_lower_bounds():
    given = (ROOT / "tests/lowest.txt").read_text().splitlines()
    assert [line for line in given if not line.startswith("#")] == lowest_versions()


def test_a_package_has_one_lower_bound_for_each_python():
    names = [re.sub(r"==[^;]*", "", line).lower() for line in lowest_versions()]
    assert len(set(names)) == len(names), names
