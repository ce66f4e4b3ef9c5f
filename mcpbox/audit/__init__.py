"""The audit: what happened, written before it happens, in files that show when anything in them was changed.

A *record* is a line of canonical JSON with the hash of the line before it. A *session* is a chain of records that one
``wrap`` writes, in one or more files. The *ledger* is the chain that all sessions share: its lines say when a session
was opened, how far it was at times (a *head*: a number of records and the hash of the last), and where it was closed.
A *signature* in the ledger, by a key that the keyring keeps, covers every line before it, and so every head. The
keyring also keeps the newest signed place: a ledger that was cut back to an older state does not contain it.
"""
