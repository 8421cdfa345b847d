"""This machine and its processes: which still run, how many cores, how much memory is free."""

import contextlib
import os
import socket
import sys
import tempfile
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # of a container, where the limit stands that the machine's hides


def host():
    """The name of this machine."""
    return socket.gethostname()


def started(pid):
    """When a process started, by the kernel's count: a number given anew is told; "" if unknown."""
    try:
        # After the name, which may hold blanks and brackets.
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def alive(pid, start=""):
    """Whether a process of this machine still runs; True where that cannot be told.

    Args:
        pid: its number.
        start: of `started`; "" is unknown.
    """
    if os.name != "posix":  # elsewhere signal 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    except PermissionError:
        pass  # somebody else's, and alive
    return not (start and started(pid) and started(pid) != start)


@contextlib.contextmanager
def unheard():
    """What libraries write to stderr in the block, also from C++, is shown only if it fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        stderr = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def cores():
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory():
    """Bytes of memory that can still be used, None where unknown."""
    found = [x for x in (_of_machine(), _of_container()) if x is not None]
    return min(found) if found else None


def _of_machine():
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container():
    with contextlib.suppress(OSError, ValueError, IndexError):
        limit = int((CGROUP / "memory.max").read_text())  # "max" is none
        used = int((CGROUP / "memory.current").read_text())
        stat = (CGROUP / "memory.stat").read_text().splitlines()
        cached = sum(int(x.split()[1]) for x in stat if x.startswith("inactive_file "))
        return max(0, limit - used + cached)
    return None
