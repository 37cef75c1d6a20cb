"""Kill zrb, `zrb-store run` and their commands at random moments: no two commands of one task are alive at one moment.

`make crash` kills two hundred times on each database, `make test` a few times.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.support.places import Places
from tests.support.postgres import DEADLINE
from tests.support.rows import faults
from tests.support.scripts import PROGRAM
from zrb_store import open_store
from zrb_store.db.location import store_url

# Each execution notes itself, and then whether another one is alive. It works until the test lets it end.
COMMAND = """\
echo $$ >>pids
for pid in $(cat pids); do
    [ $pid = $$ ] || case $(ps -o stat=,args= -p $pid) in
        Z*) ;;
        *work*) echo $pid >>beside ;;
    esac
done
touch begun.$(wc -l <pids | tr -d ' ')
PREPARE
until test -e enough; do sleep 0.02; done
echo done
"""

PROJECT = """
from pathlib import Path
from zrb import CmdTask, cli
cli.add_task(CmdTask(name="load", retries=0, cwd=str(Path(__file__).parent), cmd="sh ./work"))
"""

STARTS = {
    "zrb": ["zrb", "load"],
    "run": ["zrb-store", "run", "night", "--task", "load", "--", "sh", "./work"],
    "step": ["zrb-store", "run", "night", "--task", "load", "--", "sh", "-c", "zrb-store step part -- sh ./work; :"],
}
# A command may work in a process that is found only by its environment, or ignore SIGTERM, which takes ten seconds.
ELSEWHERE = "setsid sh -c 'echo $$ >>pids; until test -e enough; do sleep 0.02; done # work'"
PREPARED = (*[""] * 6, *[ELSEWHERE] * 5, "trap '' TERM")


def pids(folder: Path, name: str = "pids") -> list[int]:
    path = folder / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _children(main: psutil.Popen) -> dict[str, list[psutil.Process]]:
    """Return the processes below that of a session, by what they are."""
    found: dict[str, list[psutil.Process]] = {"guard": [], "program": [main], "command": []}
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in main.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                words = " ".join(each.cmdline())
                kind = "guard" if "zrb-store-guard" in words else "program" if "zrb_store.cli" in words else "command"
                found[kind].append(each)
    return found


def kill_one(main: psutil.Popen, dice: random.Random) -> str:
    """Kill the process of a session, alone or with the guards that would end its commands, or its commands."""
    found = _children(main)
    kind = dice.choice(["program", "program and guards", "all but commands", "command"])
    victims: dict[str, list[psutil.Process]] = {
        "program": [main],
        "program and guards": [*found["guard"], main],
        "all but commands": [*found["guard"], *found["program"]],
        "command": found["command"],
    }
    if kind == "command":  # with what they start meanwhile: the attempt fails, and what outlives that is not ended
        stopped: set[psutil.Process] = set()
        while new := {*_children(main)["command"]} - stopped:
            for each in new:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.suspend()
            stopped |= new
        victims[kind] = [*stopped]
    for each in victims[kind]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    return kind


def kill_commands(folder: Path, places: Places, count: int, seed: int) -> str:
    """Kill `count` times in sessions that are started again and again, which end after about ten kills."""
    dice, began = random.Random(seed), time.monotonic()
    kills: Counter[str] = Counter()
    ended = sessions = 0
    while kills.total() < count:
        place, kind = folder / f"{sessions}", list(STARTS)[sessions % len(STARTS)]
        place.mkdir(parents=True)
        sessions += 1
        location = places.new()
        for name, content in (("zrb_init.py", PROJECT), ("work", COMMAND.replace("PREPARE", dice.choice(PREPARED)))):
            (place / name).write_text(content)
        (place / "zrb-store").write_text(PROGRAM)
        (place / "zrb-store").chmod(0o755)
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("ZRB_")},
            "PATH": f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ZRB_INIT_MODULES": "zrb_store.plugin",
            "ZRB_STORE_SESSION": "night",
            "ZRB_STORE_URL": store_url(location).render_as_string(hide_password=False),
            "HOME": str(place),
        }
        for number in range(dice.randint(8, 12) + 1):
            with (place / "said").open("ab") as said:
                main = psutil.Popen(
                    STARTS[kind], cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
                )
            known = len(pids(place))
            # Most are killed while their command works, some before it.
            patience = time.monotonic() + (DEADLINE if dice.random() < 0.8 else dice.uniform(0, 1))
            while main.poll() is None and len(pids(place)) == known and time.monotonic() < patience:
                time.sleep(0.01)
            if number < 8 and kills.total() < count:
                kills[kill_one(main, dice)] += 1
                # What is left of it may have been starting another command just then.
                with contextlib.suppress(psutil.TimeoutExpired):
                    main.wait(5)
                with contextlib.suppress(psutil.NoSuchProcess):
                    main.kill()
            else:
                (place / "enough").touch()
            main.wait(DEADLINE)
            if main.returncode == 0:
                break
        assert main.returncode == 0, (place / "said").read_text()
        assert pids(place, "beside") == [], f"{kind}: two commands were alive at one moment"
        with open_store(location) as store:
            assert faults(store) == []
            assert store.session("night").status == "completed"
        ended += (place / "said").read_text().count("and is ended")
        deadline = time.monotonic() + DEADLINE
        while any(map(is_alive, pids(place))):
            assert time.monotonic() < deadline, "a command lives on"
            time.sleep(0.01)
    kinds = ", ".join(f"{number} of the {kind}" for kind, number in sorted(kills.items()))
    return (
        f"{kills.total()} kills of {sessions} sessions with a command in {time.monotonic() - began:.0f} s: {kinds}; "
        f"{ended} commands had outlived their run and were ended; two commands at one moment: 0"
    )
