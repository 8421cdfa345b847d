"""`log.txt` of a run: what was said while it was made, with the time of each line."""

import contextlib
import datetime
import re
import sys

from fundus_diag.runs.contents import LOG
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import writing
from fundus_diag.utils.version import __version__

# Of a terminal: a line is begun anew, or moved over, or coloured. A bar is lines of these signs.
BAR = ("━", "╸", "╺")
CODES = re.compile(r"(\r|\x1b\[[0-9;?]*[A-Za-z])")


class _Tee:
    """A stream that passes on what it is given, and keeps its lines for the log.

    Lines are kept in memory until there is a file for them; then each is written at once, in one
    piece: a kill leaves no more than the last one cut short.
    """

    def __init__(self, stream):
        self.stream, self.line, self.waiting, self.file = stream, "", [], None

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        written = self.stream.write(text)
        for piece in CODES.split(text):
            if CODES.fullmatch(piece):
                self.line = "" if piece == "\r" or piece.endswith("K") else self.line
                continue
            *whole, self.line = (self.line + piece).split("\n")
            for line in whole:
                if not line.startswith(BAR):
                    self.keep(line)
        return written

    def keep(self, line):
        now = datetime.datetime.now().astimezone().strftime("%H:%M:%S")
        self.waiting.append(f"{now} {line}".rstrip() + "\n")
        self.put()

    def put(self):
        if self.file is not None:
            # A disk that is full is said by what matters more.
            with contextlib.suppress(OSError):
                self.file.write("".join(self.waiting))
            self.waiting.clear()


@contextlib.contextmanager
def logged(command):
    """Keeps what is said on stderr in the block; yields `into(folder)`, which writes it there.

    What was said before it is called is written too; where it never is, nothing is. A log that is
    there is gone on with. Why the block ended is its last line.

    Args:
        command: that is run, for the first line.

    Raises:
        DataError: by `into`: the log cannot be written.
    """
    tee = _Tee(sys.stderr)
    start = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    tee.waiting.append(f"{start} fundus-diag {__version__} {command}\n")

    def into(folder):
        path = folder / LOG
        with writing(path):
            cut = path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n"
            # One write a line, see `_Tee`.
            tee.file = path.open("a", encoding="utf-8", errors="replace", buffering=1)
            tee.file.write("\n" if cut else "")
        tee.put()

    try:
        with contextlib.redirect_stderr(tee):
            yield into
    except BaseException as error:
        known = isinstance(error, (DataError, UsageError, KeyboardInterrupt))
        tee.keep(f"ended: {str(error) or 'interrupted'}" if known else f"ended: {error!r}")
        raise
    finally:
        if tee.file is not None:
            tee.file.close()
