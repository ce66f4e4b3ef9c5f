"""The options of every verb. It only parses; what a verb does is in ``commands`` and ``wrap``, imported when called."""

from __future__ import annotations

from typing import Any

import click

from mcpbox import __version__, options_trail

BACKENDS = click.Choice(["auto", "docker", "bubblewrap"])
WORDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
@click.version_option(__version__, prog_name="mcpbox")
def cli() -> None:
    """Run MCP servers in a locked-down container."""


@cli.command(context_settings=WORDS)
@click.option("--profile", metavar="NAME|FILE", help="What the server may do. Default: the profile of its package.")
@click.option("--backend", type=BACKENDS, help="Default: what the profile says, which is auto.")
@click.option("--name", help="What to call the server in logs and ps.")
@click.option("--host", default="", help="The application that starts the server, such as cursor.")
@click.option("--env", metavar="NAME", multiple=True, help="Pass this variable of the host's on to the server.")
@click.option("--learn-network", is_flag=True, help="Refuse no public host, and print the rules that suffice.")
@click.option("--learn", is_flag=True, help="Likewise, and put on record what a profile needs: see profile suggest.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def wrap(command: tuple[str, ...], **options: Any) -> int:
    """Run the server COMMAND in a sandbox, speaking MCP on standard input and output."""
    from mcpbox import wrap as wrapping

    return wrapping.run(command, wrapping.Options(**options))


@cli.command("try", context_settings=WORDS)
@click.option("--backend", type=BACKENDS, default="auto", show_default=True)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def try_(backend: str, command: tuple[str, ...]) -> int:
    """Start the server COMMAND, call it, then attack the sandbox from inside and show what was blocked."""
    from mcpbox.commands import try_ as verb

    return verb.run(command, backend)


hosts_option = click.option("--host", "hosts", metavar="HOST", multiple=True, help="Only this application's files.")
configs_option = click.option("--config", "configs", metavar="FILE", multiple=True, help="This file, whosever it is.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
unasked_option = click.option("--yes", is_flag=True, help="Do not ask.")


@cli.command()
@hosts_option
@configs_option
@dry_run_option
@unasked_option
@click.option("--no-check", "check", flag_value=False, default=True, help="Do not try whether the servers still start.")
def protect(hosts: tuple[str, ...], configs: tuple[str, ...], dry_run: bool, yes: bool, check: bool) -> int:
    """Put the servers of your MCP applications behind mcpbox."""
    from mcpbox.commands import protect as verb

    return verb.protect(hosts, configs, dry_run, yes, check)


@cli.command()
@hosts_option
@configs_option
@dry_run_option
@unasked_option
@click.option("--restore", is_flag=True, help="First put the secrets back that migrate-secrets has moved.")
def unprotect(hosts: tuple[str, ...], configs: tuple[str, ...], dry_run: bool, yes: bool, restore: bool) -> int:
    """Give the servers of your MCP applications their own commands back."""
    from mcpbox.commands import protect as verb

    if restore:
        from mcpbox.commands import migrate_secrets as first

        if code := first.migrate_secrets(hosts, configs, dry_run, yes, True):
            return code
    return verb.unprotect(hosts, configs, dry_run, yes)


@cli.command("migrate-secrets")
@hosts_option
@configs_option
@dry_run_option
@unasked_option
@click.option("--restore", is_flag=True, help="Put the secrets back into the files, and remove them from the store.")
def migrate_secrets(hosts: tuple[str, ...], configs: tuple[str, ...], dry_run: bool, yes: bool, restore: bool) -> int:
    """Move the secrets in your MCP applications' files to the keyring."""
    from mcpbox.commands import migrate_secrets as verb

    return verb.migrate_secrets(hosts, configs, dry_run, yes, restore)


@cli.command()
@json_option
@click.option("--check", is_flag=True, help="Exit with 1 when something is off.")
def status(as_json: bool, check: bool) -> int:
    """Show every application's servers: behind mcpbox or not, profile, version, secrets, and what has changed."""
    from mcpbox.commands import status as verb

    return verb.run(as_json, check)


@cli.command()
@json_option
def doctor(as_json: bool) -> int:
    """Show what this machine can enforce, and how to mend what it cannot."""
    from mcpbox.commands import doctor as verb

    return verb.run(as_json)


@cli.command()
@json_option
def ps(as_json: bool) -> int:
    """List the running sandboxes and what they use."""
    from mcpbox.commands import ps as verb

    return verb.run(as_json)


@cli.command()
@click.argument("servers", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Stop every one.")
def stop(servers: tuple[str, ...], everything: bool) -> int:
    """Stop running sandboxes, by name or by session."""
    from mcpbox.commands import stop as verb

    return verb.run(servers, everything)


@cli.group()
def profile() -> None:
    """Show, check and write profiles."""


@profile.command("list")
@json_option
def profile_list(as_json: bool) -> int:
    """List the built-in profiles and your own."""
    from mcpbox.commands import profile as verb

    return verb.list_(as_json)


@profile.command("show")
@click.argument("name")
@json_option
def profile_show(name: str, as_json: bool) -> int:
    """Print a profile in full, with where each value comes from."""
    from mcpbox.commands import profile as verb

    return verb.show(name, as_json)


@profile.command("check")
@click.argument("names", nargs=-1)
def profile_check(names: tuple[str, ...]) -> int:
    """Check profiles, all of them if none is named."""
    from mcpbox.commands import profile as verb

    return verb.check(names)


@profile.command("new")
@click.argument("name", required=False, default="")
@click.option("--from", "source", metavar="PACKAGE|COMMAND", default="", help="npm:NAME, pypi:NAME or 'npx -y NAME'.")
def profile_new(name: str, source: str) -> int:
    """Write a profile that allows nothing, to be edited; in comments, what an installed package names."""
    from mcpbox.commands import profile as verb

    return verb.new(name, source)


@cli.group()
def tools() -> None:
    """What servers say of themselves, held to what you approved: tools, prompts, templates, instructions."""


@tools.command("list")
@click.argument("server", required=False, default="")
@json_option
def tools_list(server: str, as_json: bool) -> int:
    """List the definitions that were seen of SERVER, or of all, and whether each is approved."""
    from mcpbox.commands import tools as verb

    return verb.list_(server, as_json)


@tools.command("diff")
@click.argument("server", required=False, default="")
@click.argument("name", required=False, default="")
@json_option
def tools_diff(server: str, name: str, as_json: bool) -> int:
    """Show what waits for approval, against what is approved."""
    from mcpbox.commands import tools as verb

    return verb.diff_(server, name, as_json)


all_option = click.option("--all", "everything", is_flag=True, help="Everything of this server.")


@tools.command("approve")
@click.argument("server")
@click.argument("names", metavar="NAME...", nargs=-1)
@all_option
@unasked_option
def tools_approve(server: str, names: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Release what waits of SERVER, by name; the instructions are called so."""
    from mcpbox.commands import tools as verb

    return verb.approve(server, names, everything, yes)


@tools.command("revoke")
@click.argument("server")
@click.argument("names", metavar="NAME...", nargs=-1)
@all_option
def tools_revoke(server: str, names: tuple[str, ...], everything: bool) -> int:
    """Have what is approved of SERVER wait for approval again."""
    from mcpbox.commands import tools as verb

    return verb.revoke(server, names, everything)


@cli.group()
def secrets() -> None:
    """Secrets that servers are given: names and owners, never values."""


@secrets.command("list")
@json_option
def secrets_list(as_json: bool) -> int:
    """List the names of the secrets, and which servers each is for."""
    from mcpbox.commands import secrets as verb

    return verb.list_(as_json)


@secrets.command("set")
@click.argument("name", metavar="SERVER/NAME")
@click.option(
    "--for", "owners", metavar="IDENTITY", multiple=True, help="npm:NAME, pypi:NAME, image:NAME or file:PATH."
)
def secrets_set(name: str, owners: tuple[str, ...]) -> int:
    """Keep a secret, read from standard input or asked for, and end the sandboxes that hold its old value."""
    from mcpbox.commands import secrets as verb

    return verb.set_(name, owners)


@secrets.command("rm")
@click.argument("names", metavar="SERVER/NAME...", nargs=-1, required=True)
def secrets_rm(names: tuple[str, ...]) -> int:
    """Remove secrets, and end the sandboxes that hold them."""
    from mcpbox.commands import secrets as verb

    return verb.rm(names)


@secrets.command("init")
@click.option(
    "--file", "in_file", is_flag=True, help="Keep secrets in an encrypted file, on a machine without a keyring."
)
@click.option("--key-file", type=click.Path(), help="Take the key from this file, which is made if it is not there.")
@click.option("--systemd", is_flag=True, help="Have systemd-creds seal the key to this machine. Default: a passphrase.")
def secrets_init(in_file: bool, key_file: str | None, systemd: bool) -> int:
    """Choose where secrets are kept; nothing but this makes an encrypted file."""
    from mcpbox.commands import secrets as verb

    return verb.init(in_file, key_file, systemd)


@cli.group()
def image() -> None:
    """Base images for the Docker backend."""


@image.command("build")
@click.option("--tag", default="mcpbox/base:latest", show_default=True)
@click.option("--from", "rootfs", type=click.Path(), help="A tar of a root file system, to be used as it is.")
@click.option("--suite", default="", help="The Debian release. Default: this machine's.")
@click.option("--configure/--no-configure", default=True, show_default=True, help="Use it for all servers.")
def image_build(tag: str, rootfs: str | None, suite: str, configure: bool) -> int:
    """Build a base image with Node and Python from Debian packages, without any image registry."""
    from mcpbox.commands import image as verb

    return verb.build(tag, rootfs, suite, configure)


@cli.group()
def package() -> None:
    """Pinned server packages of npm and PyPI."""


yes_option = click.option("--yes", is_flag=True, help="Go on without asking, whatever gives pause.")
install_backend = click.option("--backend", type=BACKENDS, default="auto", help="The sandbox to install in.")


@package.command("add", context_settings=WORDS)
@install_backend
@click.option("--allow-scripts", "scripts", metavar="NAME", multiple=True, help="Run this package's install scripts.")
@yes_option
@click.argument("words", metavar="PACKAGE|COMMAND", nargs=-1, type=click.UNPROCESSED)
def package_add(words: tuple[str, ...], backend: str, scripts: tuple[str, ...], yes: bool) -> int:
    """Install and pin npm:NAME or pypi:NAME, or what a COMMAND such as npx -y NAME asks for."""
    from mcpbox.commands import package as verb

    return verb.add(words, backend, scripts, yes)


@package.command("list")
@json_option
def package_list(as_json: bool) -> int:
    """List the pinned packages."""
    from mcpbox.commands import package as verb

    return verb.list_(as_json)


@package.command("show")
@click.argument("name")
@json_option
@click.option("--sbom", is_flag=True, help="Print a bill of materials (CycloneDX JSON).")
def package_show(name: str, as_json: bool, sbom: bool) -> int:
    """Show a pinned package and everything it brings along."""
    from mcpbox.commands import package as verb

    return verb.show(name, as_json, sbom)


@package.command("update")
@click.argument("names", nargs=-1)
@install_backend
@yes_option
@click.option("--back", is_flag=True, help="Undo the last update, if the new version has not started yet.")
def package_update(names: tuple[str, ...], backend: str, yes: bool, back: bool) -> int:
    """Show what newer versions change, and pin them if you agree."""
    from mcpbox.commands import package as verb

    return verb.update(names, backend, yes, back)


@package.command("verify")
@click.argument("names", nargs=-1)
@click.option("--repair", is_flag=True, help="Install the pinned files again where they were changed.")
def package_verify(names: tuple[str, ...], repair: bool) -> int:
    """Compare every file of the installed packages with what was installed."""
    from mcpbox.commands import package as verb

    return verb.verify(names, repair)


@package.command("rm")
@click.argument("names", nargs=-1, required=True)
def package_rm(names: tuple[str, ...]) -> int:
    """Remove packages from the lock and from the disk."""
    from mcpbox.commands import package as verb

    return verb.rm(names)


@package.command("gc")
def package_gc() -> int:
    """Remove installed trees that nothing names any more."""
    from mcpbox.commands import package as verb

    return verb.gc()


@cli.group()
def audit() -> None:
    """What sessions did, on record."""


@audit.command("verify")
@click.argument("names", nargs=-1)
@json_option
@click.option("--accept", is_flag=True, help="Sign the ledger as it is, though the keyring knows another.")
def audit_verify(names: tuple[str, ...], as_json: bool, accept: bool) -> int:
    """Find what was changed in the records, of the servers NAMES or of all."""
    from mcpbox.commands import audit_verify as verb

    return verb.run(names, as_json, accept)


options_trail.add_to(audit, profile)
