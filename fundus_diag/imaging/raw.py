"""Bytes of a file as a tensor: numbers in them, and what kind of picture they begin."""

import tensorflow as tf

PAD = 64  # zeros behind the data, so that reading a header never runs out of it


def padded(data):
    """Bytes of a scalar string with zeros behind them, (n,) uint8."""
    return tf.io.decode_raw(tf.strings.join([data, "\0" * PAD]), tf.uint8)


def number(raw, at, size, little=False):
    """Unsigned integer of `size` bytes at position `at`, int64; 0s stand behind the data."""
    if not isinstance(at, int):
        at = tf.clip_by_value(tf.cast(at, tf.int64), 0, tf.size(raw, tf.int64) - size)
    digits = tf.cast(raw[at : at + size], tf.int64)
    places = [256**k for k in range(size)]
    if isinstance(little, bool):
        places = _int64(places if little else places[::-1])
    else:
        places = tf.where(little, _int64(places), _int64(places[::-1]))
    return tf.reduce_sum(digits * places)


def places(raw, pattern: bytes):
    """Positions of a run of bytes, (k,) int64."""
    here = tf.fill([tf.size(raw) - PAD], True)
    for k, byte in enumerate(pattern):
        here &= raw[k : tf.size(raw) - PAD + k] == byte
    return tf.where(here)[:, 0]


def is_jpeg(raw):
    return number(raw, 0, 3) == 0xFFD8FF


def is_png(raw):
    return number(raw, 0, 4) == 0x89504E47


def is_bmp(raw):
    return number(raw, 0, 2) == 0x424D


def _int64(value):
    return tf.constant(value, tf.int64)
