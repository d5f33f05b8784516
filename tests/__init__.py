"""The suite mirrors src/mentor; a package, so that helpers are imported as tests.<folder>.<module>."""
