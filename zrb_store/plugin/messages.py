"""Messages to the user on stderr, and the part of a traceback that is the user's."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from zrb_store.render.messages import PROGRAM, print_line


class Speaker:
    """What prints the messages of the plugin.

    Attributes:
        name: What each line begins with.
        program: What the user types before a command, also in advice: `zrb xcom`, unless the user's tasks have a group
            of that name.
    """

    def __init__(self) -> None:
        self.name = PROGRAM
        self.program = PROGRAM

    @property
    def can_resume(self) -> bool:
        """Whether there is a command `resume` that runs tasks."""
        return self.program != PROGRAM

    def offer(self, program: str) -> None:
        """Advise commands in this form from now on."""
        self.program = program

    def speak_as(self, name: str) -> None:
        """Begin each line with this from now on."""
        self.name = name

    def warn(self, message: str) -> None:
        """Print one line on stderr, with secrets masked."""
        print_line(message, self.program, self.name)


speaker = Speaker()
warn = speaker.warn


class WarnOnce:
    """A function that prints each message once."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def __call__(self, message: str) -> None:
        """Print one line on stderr, once."""
        if message not in self._printed:
            self._printed.add(message)
            warn(message)


def engine_folders() -> tuple[str, ...]:
    """Return the folders of the code whose frames say nothing to a user: zrb's and ours."""
    import zrb  # late: without zrb this module still has to say so

    return str(Path(zrb.__file__).parent), str(Path(__file__).parents[1])


def first_user_frame(error: BaseException) -> TracebackType | None:
    """Find where the user's own code begins in a traceback. The frames before it, zrb's and ours, are always the same.

    Returns:
        The first frame of the user's code, or None if there is none.
    """
    engines = engine_folders()
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(engines):
        frames = frames.tb_next
    return frames
