"""What lupi_jax does on a GPU, in one command of at most eight minutes."""
