"""How long a training takes: told by its first steps, then by its epochs."""

from fundus_diag.training.watch import duration

# A step of learning takes so many times a look at its pictures: from that of large convolutions to
# that of EfficientNet-Lite in bfloat16 on two cores, whose convolutions of single channels are slow
# to go back through, with the augmentation that a look does without.
LEARNING = (3, 8)


class Pace:
    """What the phases of a training took in this session, and what is left of them.

    Attributes:
        left: {phase: epochs that are left}.
        seconds: {phase: (least, most) of one of its epochs}, of those that something tells of.
    """

    def __init__(self, left, steps, batch_size):
        self.left, self.steps, self.batch_size = dict(left), steps, batch_size
        self.seconds, self.said = {}, set()

    def looked(self, phase, seconds):
        """Guesses a phase that trains all of a network, by the seconds of a look at a picture."""
        if phase not in self.seconds and self.left.get(phase):
            epoch = seconds * self.batch_size * self.steps
            self.seconds[phase] = tuple(times * epoch for times in LEARNING)

    def stepped(self, phase, seconds):
        """Takes in the seconds of a step; the line that says what follows, once a phase."""
        if phase in self.said:
            return None
        self.said.add(phase)
        self.seconds[phase] = (self.steps * seconds,) * 2
        step, left = f"{seconds:.2g} s a step", self.time_left()
        if left is None:
            return f"{step}: about {_said(self._of(phase))} for phase {phase}"
        others = [x for x in self.left if self.left[x] and x != phase]
        parts = ", ".join(f"phase {x} {_said(self._of(x))}" for x in (phase, *others))
        about = f"about {left}" if left else "less than a second"
        return f"{step}: {about} in all" + (f" ({parts})" if others else "")

    def epoch(self, phase, seconds):
        """Takes in an epoch that is over, the scores of val with it."""
        self.left[phase] -= 1
        self.seconds[phase] = (seconds, seconds)

    def ended(self, phase):
        """A phase is over, perhaps before its time."""
        self.left[phase] = 0

    def time_left(self):
        """In words; "" where it is over, None where nothing tells of a phase that is to come."""
        ahead = [x for x, n in self.left.items() if n]
        if any(x not in self.seconds for x in ahead):
            return None
        least, most = (sum(self._of(x)[k] for x in ahead) for k in (0, 1))
        return _said((least, most)) if most >= 1 else ""

    def _of(self, phase):
        return tuple(self.left[phase] * x for x in self.seconds[phase])


def _said(ends):
    least, most = map(duration, ends)
    return least if least == most else f"{least} to {most}"
