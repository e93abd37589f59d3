"""The `headwater` command: what a person types, and what is called for it.

Knows click and how to say an error; must not know how anything is done. Each command's work is in a module of its own that
is imported when the command is used, so that `headwater token` does not wait for a web server to be imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headwater.cli.pg import pg
from headwater.cli.settings import Settings, load
from headwater.cli.terminal import visible
from headwater.errors import HeadwaterError

Command = Callable[..., Any]


class Group(click.Group):
    """Commands whose errors are sentences, not tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours ends it with status 2 and its three sentences."""
        try:
            return super().invoke(ctx)
        except HeadwaterError as error:
            click.echo(visible(f"headwater: {error}"), err=True)
            ctx.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headwater", prog_name="headwater")
def main() -> None:
    """Headwater: live updates for Python applications."""


def settings_options(command: Command) -> Command:
    """The flags of `serve` and `run` that override settings."""
    options = [
        click.option("--host", help="Address to listen on. [127.0.0.1]"),
        click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for any free one. [8000]"),
        click.option("--broker", help="URL of the log. [sqlite:///headwater.db]"),
        click.option("--workers", type=click.IntRange(1, 256), help="Processes. [1]"),
        click.option("--dev", is_flag=True, default=None, help="No tokens, loopback only, no limits per caller."),
        click.option("--tls-cert", type=click.Path(dir_okay=False), help="Certificate chain, PEM."),
        click.option("--tls-key", type=click.Path(dir_okay=False), help="Its private key, PEM."),
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]"),
        click.option(
            "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file. [headwater.toml]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _settings(flags: dict[str, Any]) -> Settings:
    file = flags.pop("config", None)
    return load(flags, os.environ, file)


@main.command()
@settings_options
def serve(**flags: Any) -> None:
    """Run the hub."""
    from headwater.cli import serve as work

    work.serve(_settings(flags))


@main.command()
@click.argument("app")
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes.")
@click.option("--factory", is_flag=True, help="APP is a function that makes the application.")
@settings_options
def run(app: str, reload: bool, factory: bool, **flags: Any) -> None:
    """Run your own ASGI application, APP as module:name, on Headwater's server.

    --broker is handed to it as the environment variable HEADWATER_BROKER.
    """
    from headwater.cli import running as work

    if flags.get("broker"):
        os.environ["HEADWATER_BROKER"] = flags["broker"]
    sys.path.insert(0, os.getcwd())
    work.run(app, _settings(flags), reload=reload, factory=factory)


@main.command()
@click.option("--sub", help="Whom it names.")
@click.option("--subscribe", multiple=True, metavar="PATTERN", help="Channels it may read; repeatable.")
@click.option("--publish", multiple=True, metavar="PATTERN", help="Channels it may write; repeatable.")
@click.option("--permission", multiple=True, help="A permission it holds; repeatable.")
@click.option("--ttl", default="1h", show_default=True, help="How long it is valid: 90s, 15m, 1h, 30d.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file. [headwater.toml]")
def token(
    sub: str | None,
    subscribe: tuple[str, ...],
    publish: tuple[str, ...],
    permission: tuple[str, ...],
    ttl: str,
    config: Path | None,
) -> None:
    """Print a token signed with HEADWATER_JWT_SECRET."""
    from headwater.cli import tools

    settings = load({}, os.environ, config)
    click.echo(tools.token(settings, sub=sub, subscribe=subscribe, publish=publish, permissions=permission, ttl=ttl))


@main.command()
@click.argument("channel")
@click.argument("data", required=False)
@click.option("--type", "type_", default="message", show_default=True, help="Event type.")
@click.option("--text", is_flag=True, help="DATA is plain text, not JSON.")
@click.option("--permission", multiple=True, help="A permission that readers must hold; repeatable.")
@click.option("--key", help="Idempotency key.")
@click.option("--url", help="A hub's base URL. [http://127.0.0.1:8000]", envvar="HEADWATER_URL")
@click.option("--broker", help="Append to this log directly, without a hub.")
@click.option("--token", help="Bearer token. [$HEADWATER_TOKEN]", envvar="HEADWATER_TOKEN")
def publish(
    channel: str, data: str | None, type_: str, text: bool, permission: tuple[str, ...], **options: Any
) -> None:
    """Publish one event; DATA is JSON, or comes from standard input. Prints the event's id."""
    from headwater.cli import tools

    body = data if data is not None else sys.stdin.read()
    click.echo(visible(tools.publish(channel, body, type=type_, text=text, permissions=permission, **options)))


@main.command()
@click.argument("channels", nargs=-1, required=True)
@click.option("--since", help="now, all, an id, or a duration such as 10m. [now]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--url", help="A hub's base URL. [http://127.0.0.1:8000]", envvar="HEADWATER_URL")
@click.option("--token", help="Bearer token. [$HEADWATER_TOKEN]", envvar="HEADWATER_TOKEN")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
def tail(channels: tuple[str, ...], **options: Any) -> None:
    """Follow channels and print their events; reconnects by itself and loses nothing."""
    from headwater.cli import tools

    tools.tail(channels, **options)


@main.command()
@click.option("--url", help="A hub's base URL. [http://127.0.0.1:8000]", envvar="HEADWATER_URL")
@click.option("--token", help="Bearer token of an administrator. [$HEADWATER_TOKEN]", envvar="HEADWATER_TOKEN")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file. [headwater.toml]")
def doctor(url: str | None, token: str | None, config: Path | None) -> None:
    """Look at the settings, this machine and a running hub, and say what is wrong and what to do."""
    from headwater.cli import doctor as work

    sys.exit(work.examine(os.environ, config, url=url, token=token, echo=lambda text: click.echo(visible(text))))


@main.command()
@click.option("--url", help="A hub's base URL; without it one is started for the occasion.")
@click.option("--streams", default=200, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--events", default=200, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--token", help="Bearer token. [$HEADWATER_TOKEN]", envvar="HEADWATER_TOKEN")
def bench(**options: Any) -> None:
    """Measure a hub from this machine: streams, deliveries a second, latency."""
    from headwater.cli import bench as work

    work.measure(echo=click.echo, **options)


main.add_command(pg)
