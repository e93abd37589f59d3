"""`python -m examples.gallery`: the gallery on our server, until Ctrl-C ends it."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from examples.gallery.gallery import create_app
from examples.gallery.settings import Settings
from headwater.auth import check_secure
from headwater.cli.logs import log_config
from headwater.cli.running import STARTUP_FAILURE, Server
from headwater.errors import HeadwaterError
from headwater.server import config


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; of this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any free one.")
@click.option("--data", default=".gallery", show_default=True, help="Folder for everything that is kept.")
@click.option("--demo/--no-demo", default=True, help="Let the applications do something by themselves.")
def main(host: str, port: int, data: str, demo: bool) -> None:
    """Run the gallery."""
    try:
        check_secure(None, dev=True, host=host)
    except HeadwaterError as error:
        raise click.UsageError(str(error)) from None
    logs = log_config("info", "auto")
    logs["loggers"]["examples"] = {"level": "WARNING"}  # the applications tell of every event
    settings = Settings(data=data, demo=demo, database=os.environ.get("DATABASE_URL", ""))
    made = config(create_app(settings), host=host, port=port, grace=1.0, log_config=logs)
    server = Server(made, "the gallery; Ctrl-C ends it")
    with suppress(KeyboardInterrupt):  # the server has stopped by then, and says it once more
        server.run()
    if not server.started:
        click.echo("The gallery did not start. If its port is taken, --port 0 finds a free one.", err=True)
        raise SystemExit(STARTUP_FAILURE)


main()
