"""An ssh server on a port of loopback for whoever has the one key. It runs what it is asked to.

Started with the directory that holds its key "host", the file "authorized" of who is let in, and "environment.json".
It prints its port once it listens.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import asyncssh

DIRECTORY = Path(sys.argv[1])


class Door(asyncssh.SSHServer):
    def connection_made(self, connection):
        self.connection = connection

    def begin_auth(self, username):
        # Read anew each time: who is let in may change.
        with_key = (DIRECTORY / "authorized").read_text()
        if with_key:
            self.connection.set_authorized_keys(asyncssh.import_authorized_keys(with_key))
        return True


async def run(process):
    environment = {**os.environ, **json.loads((DIRECTORY / "environment.json").read_text())}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(
        process.command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())


async def main():
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Door,
        server_host_keys=[str(DIRECTORY / "host")],
        process_factory=run,
        encoding=None,
    )
    sys.stdout.write(f"{server.get_port()}\n")
    sys.stdout.flush()
    await server.wait_closed()


asyncio.run(main())
