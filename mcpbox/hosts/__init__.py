"""The MCP hosts that mcpbox knows, one row each. No I/O."""
