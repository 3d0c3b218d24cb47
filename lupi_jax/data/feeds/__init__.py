"""From an index to batches of uint8: the sampler, and the feeds that agree bit for bit."""
