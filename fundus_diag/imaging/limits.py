"""What keeps a file from being decoded by its size alone, in one line without its name."""

from fundus_diag.imaging.header import MAX_BYTES, MAX_PIXELS, MIN_SIDE


def beyond(height: int, width: int) -> str | None:
    """Why a picture of so many pixels is not decoded, or None."""
    if min(height, width) < MIN_SIDE:
        return f"{width}x{height} pixels: smaller than {MIN_SIDE}"
    if height * width > MAX_PIXELS:
        return f"{height * width / 1e6:.0f} megapixels, more than {MAX_PIXELS / 1e6:.0f}"
    return None


def too_heavy(size: int) -> str:
    """What is said of a file of so many bytes, more than `MAX_BYTES`."""
    return f"{size / 2**20:.0f} MB, more than {MAX_BYTES // 2**20}"
