"""The public API: paths to operations, bodies in, replies and errors out."""
