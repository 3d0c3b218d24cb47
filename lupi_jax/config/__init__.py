"""The configuration of a run, with its fields, its recipes and its file."""

from lupi_jax.config.fields import Config, EvaluationConfig, OptimizerConfig, SourceConfig
from lupi_jax.config.file import load_config
from lupi_jax.config.parsing import (
    changeable,
    check_config,
    defaults_of,
    differences,
    field_types,
    parse_config,
    parse_record,
    to_fields,
)

__all__ = [
    "Config",
    "EvaluationConfig",
    "OptimizerConfig",
    "SourceConfig",
    "changeable",
    "check_config",
    "defaults_of",
    "differences",
    "field_types",
    "load_config",
    "parse_config",
    "parse_record",
    "to_fields",
]
