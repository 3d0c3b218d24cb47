"""Measurements of lupi_jax."""
