"""Faults of the command line: numbers, places, configurations."""

from collections.abc import Callable

from experiments.faults.fault import Case, Fault


def option(name: str, value: str) -> Callable[[Case], None]:
    """An option has such a value."""
    return lambda case: case.set(name, value)


def joining(**values: str) -> Callable[[Case], None]:
    """The command is to join others as these say."""
    given = {"coordinator": "localhost:9999", "processes": "2", "process": "0"} | values

    def prepare(case: Case) -> None:
        for name, value in given.items():
            case.set(f"--{name}", value)

    return prepare


def configuration(text: bytes) -> Callable[[Case], None]:
    """The configuration is such a file."""

    def prepare(case: Case) -> None:
        (case.folder / "config.py").write_bytes(text)
        case.set("--config", "config.py")

    return prepare


def linked_configuration(case: Case) -> None:
    """The configuration is a link to /dev/zero."""
    (case.folder / "config.py").symlink_to("/dev/zero")
    case.set("--config", "config.py")


NUMBERS = (
    ("train", "--config.steps"),
    ("train", "--config.seed"),
    ("evaluate", "--config.evaluation.trials"),
    ("evaluate", "--checkpoint"),
    ("search", "--top"),
    ("prepare", "--size"),
    ("prepare", "--workers"),
    ("check-data", "--workers"),
    ("make-synthetic", "--identities"),
    ("make-synthetic", "--seed"),
    ("make-synthetic", "--height"),
    ("evaluate", "--processes"),
)
DIGITS = "9" * 5000

CONFIGURATIONS = {
    "that exits": (b"import sys; sys.exit(0)", r"gives no configuration \(SystemExit: 0\)"),
    "that raises": (b"raise ValueError('x\\ny')", r"gives no configuration \(ValueError: x y\)"),
    "that is no Python": (b"\x00\xff", "gives no configuration"),
    "that never ends calling itself": (
        b"def get_config():\n    return get_config()\n",
        r"gives no configuration \(RecursionError",
    ),
    "of another type": (b"get_config = dict\n", "gives no configuration"),
    "that nests": (b"x = " + b"(" * 5000, "gives no configuration"),
}

FAULTS = (
    *(
        Fault(f"{name} of 5000 digits", (command,), option(name, DIGITS), 2, "^lupi", True)
        for command, name in NUMBERS
    ),
    *(
        Fault(f"{name} {value!r}", (command,), option(name, value), 2, "^lupi", True)
        for command, name in NUMBERS
        for value in ("-1", "1e3", "")
        if name != "--checkpoint"  # it takes any text, and an empty one means the newest
    ),
    *(
        Fault(f"a configuration {what}", ("train",), configuration(text), 2, line, True)
        for what, (text, line) in CONFIGURATIONS.items()
    ),
    Fault("a configuration linked to /dev/zero", ("train",), linked_configuration, 2, "", True),
    Fault(
        "a field that nests",
        ("train",),
        option("--config.modalities", "(" * 50_000),
        2,
        "modalities",
        True,
    ),
    Fault(
        "--coordinator localhost:99999999",
        ("evaluate", "train", "export .npz"),
        joining(coordinator="localhost:99999999"),
        2,
        "give a port between 1 and 65535",
        True,
    ),
    Fault(
        "--processes 1000000000",
        ("evaluate", "train"),
        joining(processes="1000000000"),
        2,
        "give a number between 1 and 100000",
        True,
    ),
)
