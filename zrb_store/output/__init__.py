"""What attempts print and log: `buffer.py` makes lines of it, `output.py` stores them, `writer.py` says when."""

from zrb_store.output.output import Output

__all__ = ["Output"]
