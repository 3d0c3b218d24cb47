"""Make `gpu.md` from the record."""

from experiments.gpu.figures import Record, number
from experiments.gpu.plan import PARTS

HEAD = """# lupi_jax on a GPU

    {command}

{date}, {device}, driver {driver}, {cores} CPU cores, Python {python}, commit {commit};
{versions}.
{tiny}
Each part ran in its own process. Training rates count the images of all three modalities, and come
from the median turn.
"""
TINY = """
These are tiny sizes. They show that the command works, and say nothing about speed.
"""


def page(record: Record) -> str:
    """The page with all figures known so far."""
    facts = record.facts
    head = HEAD.format(
        command=facts["command"],
        date=facts["date"],
        device=facts.get("device", "device unknown"),
        driver=facts.get("driver", "unknown"),
        cores=facts["cores"],
        python=facts.get("python", "unknown"),
        commit=facts.get("commit", "unknown"),
        versions=", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items()),
        tiny=TINY if facts["tiny"] else "",
    )
    parts = [name for name in PARTS if name in record.parts]
    missing = [name for name in PARTS if name not in record.parts]
    sections = [head, _targets(record, parts), *(_section(record, name) for name in parts)]
    if missing:
        sections.append(f"## Not run\n\n{', '.join(missing)}.")
    return "\n".join(section.rstrip("\n") + "\n" for section in sections if section)


def _targets(record: Record, parts: list[str]) -> str:
    rows = [
        (
            PARTS[part].title,
            figure.name,
            figure.target,
            _value(figure.value, figure.unit),
            "met" if figure.met else "**missed**",
        )
        for part in parts
        for figure in record.figures(part)
        if figure.target
    ]
    if not rows:
        return ""
    met = sum(row[-1] == "met" for row in rows)
    table = _table(("part", "what", "target", "measured", ""), rows)
    return f"## Targets: {met} of {len(rows)} met\n\nThe targets are for one H100.\n\n{table}"


def _section(record: Record, name: str) -> str:
    part = record.parts[name]
    rows = [
        (figure.name, _value(figure.value, figure.unit), figure.note)
        for figure in record.figures(name)
    ]
    paragraphs = [f"## {PARTS[name].title}", f"{part['date']}, {part['seconds']:.0f} s."]
    if part["status"] != "done":
        paragraphs.append(f"{part['status'].capitalize()}: {_escape(part['why'])}.")
    if rows:
        paragraphs.append(_table(("what", "figure", "note"), rows))
    return "\n\n".join(paragraphs)


def _value(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{number(value)} {unit}".rstrip()


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_escape, line))} |" for line in lines) + "\n"


def _escape(text: str) -> str:
    """Text that stays within a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
