"""From an index to batches of uint8: the sampler, and feeds that give the same bits."""
