"""What a server says of itself, held to what was approved: digests of definitions, the store of pins, diffs."""
