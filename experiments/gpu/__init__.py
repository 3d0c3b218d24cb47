"""Speed and correctness on a GPU, measured by one command in at most eight minutes."""
