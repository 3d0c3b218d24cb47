"""Readers, one per data set, that turn its files into an `Index`."""
