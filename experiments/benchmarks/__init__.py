"""Speed against plain PyTorch, in turn in one run."""
