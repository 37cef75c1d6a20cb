"""What the plugin uses of zrb's web server, and how releases differ: the part of `compat.py` that `web.py` needs."""

from __future__ import annotations

import inspect
import signal
import sys
from typing import Any

from zrb.config.config import CFG

from zrb_store.plugin.patches import Patches


def web_server_task() -> Any:
    """Return the task that starts zrb's web server, or None if it is not there or has another form."""
    task = getattr(sys.modules.get("zrb.runner.cli"), "start_server", None)
    return task if inspect.iscoroutinefunction(getattr(task, "_action", None)) else None


def web_app_module() -> Any:
    """Return the module that makes the app of zrb's web server. It imports the web server's libraries."""
    from zrb.runner import web_app

    return web_app


async def web_user(web_auth_config: Any, request: Any) -> Any:
    """Return the user of a request to zrb's web server: who has logged in, else its guest."""
    from zrb.runner.web_util.user import get_user_from_request

    return await get_user_from_request(web_auth_config, request)


def add_web_script(patches: Patches, path: str) -> None:
    """Let every page of zrb's web server load one script more. In 1.21 the setting cannot be set."""
    setting = inspect.getattr_static(type(CFG), "WEB_JS_PATH")

    def paths(self: Any) -> list[str]:
        return [*setting.__get__(self, type(self)), path]

    patches.put(type(CFG), "WEB_JS_PATH", property(paths, getattr(setting, "__set__", None)))


def web_server_is_ending() -> bool:
    """Whether zrb's web server has been asked to end. It waits for open connections, 1.21 for ever."""
    server = getattr(signal.getsignal(signal.SIGINT), "__self__", None)  # while it runs, uvicorn handles the signal
    return bool(getattr(server, "should_exit", False))
