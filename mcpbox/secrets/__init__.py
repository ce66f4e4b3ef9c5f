"""Secrets: named in configurations and profiles, kept in the system's keyring or an encrypted file, given to servers.

``reference`` has the names, ``store`` the values, ``launch`` what becomes of a server's environment and arguments.
``held`` knows the values that this process holds, so that nothing it writes contains one.
"""

#: What a reference begins with.
PREFIX = "mcpbox-secret:"
