"""Data that one server of a host returned and another is given: what is remembered of it, and where."""
