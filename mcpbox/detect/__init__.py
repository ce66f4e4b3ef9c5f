"""Finds in texts what should not be there: secrets, personal data, attacks on the model, names that deceive. No I/O."""
