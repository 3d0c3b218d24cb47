"""What is measured of lupi_jax."""
