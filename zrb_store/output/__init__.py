"""What attempts print and log.

`buffer.py` keeps what was printed and makes lines of it, and `output.py` stores them.
"""

from zrb_store.output.output import Output

__all__ = ["Output"]
