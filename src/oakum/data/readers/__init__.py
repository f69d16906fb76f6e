"""One function a format: a path becomes a polars frame. Nothing downstream knows which format a log came in."""
