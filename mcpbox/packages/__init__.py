"""Server packages of npm and PyPI: resolved once, verified, installed in a sandbox, run from a read-only directory."""
