"""What attempts print and log.

`raw.py` keeps what was printed, `buffer.py` makes lines of it, `output.py` stores them, and `writer.py` says when.
"""

from zrb_store.output.output import Output

__all__ = ["Output"]
