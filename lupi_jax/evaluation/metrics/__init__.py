"""Pure functions from distances and features to figures: CMC, mAP, mINP, domain shift."""
