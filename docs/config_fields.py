"""Write docs/guides/configuration.md: every field of the configuration, from the code.

python -m docs.config_fields
"""

from pathlib import Path

from lupi_jax.config.help import allowed, changes, groups, recipe_values, written
from lupi_jax.declared import Field

PAGE = Path(__file__).parent / "guides" / "configuration.md"

_INTRODUCTION = """\
<!-- Written by `python -m docs.config_fields`; a change made here would be lost. -->

# Fields of the configuration

One configuration describes a run. It comes from a Python file such as those in `configs/`. The
command line can set any field by its dotted name:

<!-- not run: the next block reads the same without training -->
```sh
lupi train --config configs/folder.py --config.data.root=DATA --workdir runs/mine \\
    --config.batch.identities=8
```

`lupi config` lists the same fields in the terminal, with the values of a file beside the defaults:

```sh
lupi config configs/folder.py --config.batch.identities=8
```

The command line wins over the file, and the file wins over the recipe. All wrong names and values
are reported together, each by its field. Write a tuple as `--config.data.image_size="(96,48)"`, and
text without extra quotes.

The tables show the default of each field. If a recipe has another default, the recipe and its value
follow. The files in `configs/` set further fields and explain why. An existing run keeps its
configuration; the column "values" says which fields may change.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    for about, fields in groups():
        group = fields[0].name.rpartition(".")[0] or "The run"
        heading = f"`{group}`" if "." in fields[0].name else group
        rows = ["| field | default | what it is | values |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {heading}", "", about, "", *rows, *map(_row, fields)]) + "\n")
    return "\n".join(parts)


def _row(field: Field) -> str:
    own = [f"{recipes}: `{value}`" for value, recipes in recipe_values(field).items()]
    default = "; ".join([f"`{written(field.default)}`", *own])
    values = "; ".join(filter(None, (allowed(field), changes(field))))
    cells = (f"`{field.name}`", default, field.help, values)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
