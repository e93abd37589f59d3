"""Nchan: nginx with Debian's libnginx-mod-nchan, one worker, messages in its shared memory.

Nchan has no permissions on events. Its nearest equivalent of 100 permission groups is a channel for each group, to all of
which one request publishes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from bench.systems.base import BACKLOG, Publish, System

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

# Larger than nginx ships with wherever a default would throttle the benchmark; new subscribers get new messages only.
_CONFIGURATION = Template("""
load_module $module;
user $user;
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid $directory/nginx.pid;
error_log $directory/error.log warn;
events { worker_connections 16384; multi_accept on; }
http {
  access_log off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_body_temp_path $directory/body;
  proxy_temp_path $directory/proxy;
  fastcgi_temp_path $directory/fastcgi;
  uwsgi_temp_path $directory/uwsgi;
  scgi_temp_path $directory/scgi;
  nchan_shared_memory_size 256m;
  server {
    listen 127.0.0.1:$port backlog=$backlog;
    location /publish { nchan_publisher; nchan_channel_id $$arg_channel; nchan_channel_id_split_delimiter ","; $buffer }
    location /events { nchan_subscriber eventsource; nchan_channel_id $$arg_channel; nchan_subscriber_first_message newest; }
  }
}
""")
_BUFFER = "nchan_message_buffer_length 1000; nchan_message_timeout 1h;"


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def _missing() -> str | None:
    if _nginx() is None:
        return "nginx is not installed (apt-get install nginx libnginx-mod-nchan)"
    return None if _MODULE.exists() else "the Nchan module is not installed (apt-get install libnginx-mod-nchan)"


def _command(port: int, directory: Path) -> Sequence[str]:
    user = "root" if os.geteuid() == 0 else "nobody"  # ignored, with a warning, unless nginx starts as root
    path = directory / "nginx.conf"
    values = {
        "module": _MODULE,
        "user": user,
        "directory": directory,
        "port": port,
        "backlog": BACKLOG,
        "buffer": _BUFFER,
    }
    path.write_text(_CONFIGURATION.substitute(values))
    return [_nginx() or "nginx", "-p", str(directory), "-c", str(path), "-e", str(directory / "error.log")]


def nchan(subscribe: str = "bench", publish: str = "bench") -> System:
    """Nchan with streams of one channel, publishing to one or, with commas, to several."""
    return System(
        name="nchan",
        title="Nchan (nginx)",
        command=_command,
        stream=f"/events?channel={subscribe}",
        publish=Publish(path=f"/publish?channel={publish}"),
        missing=_missing,
    )
