"""One verb of the command line per module: plain arguments in, exit code out."""
