"""How long a training takes: told by its first steps, then by its epochs."""

from fundus_diag.training.watch import duration

FORTH_AND_BACK = 3  # a step forth and back takes about so many times a look at its pictures


class Pace:
    """What the phases of a training took in this session, and what is left of them.

    Attributes:
        left: {phase: epochs that are left}.
        seconds: {phase: of one of its epochs}, of those that something tells of.
        guessed: phases of which only the rule above tells.
    """

    def __init__(self, left, steps, batch_size):
        self.left, self.steps, self.batch_size = dict(left), steps, batch_size
        self.seconds, self.guessed, self.said = {}, set(), set()

    def looked(self, phase, seconds):
        """A phase that trains all of a network, by the seconds of a look at one picture."""
        if phase not in self.seconds and self.left.get(phase):
            self.seconds[phase] = FORTH_AND_BACK * seconds * self.batch_size * self.steps
            self.guessed.add(phase)

    def stepped(self, phase, seconds):
        """Takes in the seconds of a step; the line that says what follows, once a phase."""
        if phase in self.said:
            return None
        self.said.add(phase)
        self.guessed.discard(phase)
        self.seconds[phase] = self.steps * seconds
        left = self.time_left()
        step = f"{seconds:.2g} s a step"
        if left is None:
            return f"{step}: about {duration(self._of(phase))} for phase {phase}"
        others = [x for x in self.left if self.left[x] and x != phase]
        parts = [f"phase {x} about {duration(self._of(x))}" for x in (phase, *others)]
        text = f"{step}: about {duration(left)} in all"
        if others:
            text += f" ({', '.join(parts)}"
            text += ", a guess by how long a look takes)" if self.guessed else ")"
        return text

    def epoch(self, phase, seconds):
        """Takes in an epoch that is over, the scores of val with it."""
        self.left[phase] -= 1
        self.seconds[phase] = seconds
        self.guessed.discard(phase)

    def ended(self, phase):
        """A phase is over, perhaps before its time."""
        self.left[phase] = 0

    def time_left(self):
        """Seconds, or None where nothing tells of a phase that is to come."""
        open_phases = [x for x, n in self.left.items() if n]
        if any(x not in self.seconds for x in open_phases):
            return None
        return sum(map(self._of, open_phases))

    def _of(self, phase):
        return self.left[phase] * self.seconds[phase]
