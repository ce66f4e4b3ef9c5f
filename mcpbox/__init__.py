"""Run MCP servers in a locked-down container."""

__version__ = "0.1.0"
