"""Whose eye a photograph shows, as far as its name tells."""

import re

from fundus_diag.data.labels import eye_of, nfc
from fundus_diag.utils.errors import UsageError

# 123_left, 123-OD, 123 L, 123.right; without a sign between only after a digit, and no single
# letter: 123OD, 123左.
PATTERN = r"(?P<patient>.+?)(?:[ _.-]+|(?<=\d)(?![lr]$))(?P<eye>left|right|l|r|os|od|左眼?|右眼?)"
_PARTS = re.compile(r"[ _.,()-]+")


def patient_pattern(text):
    """A compiled `--patient-pattern`.

    Raises:
        UsageError: it is no regular expression, or has neither a group patient nor eye.
    """
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise UsageError(
            f"--patient-pattern {text!r}: not a regular expression: {error}"
        ) from error
    if not {"patient", "eye"} & set(pattern.groupindex):
        raise UsageError(f"--patient-pattern {text!r}: no group is called patient or eye")
    return pattern


def who(stem, pattern=None):
    """(patient, eye) that the name of a photograph, without its ending, tells; "" of what it does
    not.

    Args:
        stem: the name.
        pattern: of `patient_pattern`, searched for in the name. Without one: `PATTERN`, else the
            one part of the name that is a word for an eye, with what stands before it, or else
            behind it, as the patient: OD_123, 123_left_2.
    """
    stem = nfc(stem)
    if pattern is not None:
        match = pattern.search(stem)
        parts = match.groupdict() if match else {}
        return (parts.get("patient") or "").strip(), eye_of(parts.get("eye") or "") or ""
    match = re.fullmatch(PATTERN, stem, re.IGNORECASE)
    if match:
        return match["patient"].strip(), eye_of(match["eye"])
    parts = [part for part in _PARTS.split(stem) if part]
    eyes = [i for i, part in enumerate(parts) if eye_of(part)]
    if len(eyes) != 1:
        return "", ""
    (at,) = eyes
    return "_".join(parts[:at] or parts[at + 1 :]), eye_of(parts[at])
