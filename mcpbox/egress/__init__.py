"""Egress: the relay inside the sandbox, the gateway outside it, and the rules by which the gateway decides."""
