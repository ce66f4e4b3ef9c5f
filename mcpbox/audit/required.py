"""Whether the user wants no server to start that the audit cannot be signed for."""

from __future__ import annotations

from mcpbox import paths


def is_required() -> bool:
    """Raises ProfileError for a configuration that cannot be understood."""
    try:
        # Reading the file as what it is takes longer than the rest of a start.
        if b"audit" not in paths.config_file().read_bytes():
            return False
    except FileNotFoundError:
        return False
    except OSError:
        # It is read all the same, for the error that says what is wrong.
        pass
    from mcpbox import config

    return config.load().audit.sign == "required"
