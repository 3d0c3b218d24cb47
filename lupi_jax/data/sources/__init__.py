"""One reader per data set, from its files to an `Index`."""
