"""Speed of lupi_jax and of plain PyTorch, measured in turns."""
