"""What labels, segments and photographs are called in a report, in English and Chinese."""

import math

from fundus_diag.data.findings import find, read_vocabulary
from fundus_diag.data.labels import LABEL_NAMES, label_text

LABELS_ZH = {
    "N": "正常",
    "D": "糖尿病视网膜病变",
    "G": "青光眼",
    "C": "白内障",
    "A": "年龄相关性黄斑变性",
    "H": "高血压视网膜病变",
    "M": "病理性近视",
    "O": "其他疾病",
}
SEGMENTS = {  # of the names that masks mostly have; others are said as they are called
    "MA": ("microaneurysms", "微血管瘤"),
    "HE": ("haemorrhages", "视网膜出血"),
    "EX": ("hard exudates", "硬性渗出"),
    "SE": ("cotton wool spots", "棉絮斑"),
    "microaneurysm": ("microaneurysms", "微血管瘤"),
    "haemorrhage": ("haemorrhages", "视网膜出血"),
    "hard_exudate": ("hard exudates", "硬性渗出"),
    "cotton_wool": ("cotton wool spots", "棉絮斑"),
    "OD": ("optic disc", "视盘"),
    "disc": ("optic disc", "视盘"),
    "cup": ("cup of the disc", "视杯"),
    "macula": ("macula", "黄斑"),
    "vessels": ("vessels", "血管"),
}
ANATOMY = ("disc", "OD", "cup", "macula", "vessels")
# What is said of photographs by `imaging.gradability` and `runs.answers`; all else stays as it is.
QUALITY_ZH = {
    "field of view cut off": "视野不完整",
    "too dark": "过暗",
    "too bright": "过亮",
    "overexposed": "过曝",
    "low contrast": "对比度低",
    "blurred or hazy": "模糊或混浊",
    "no field of view: nothing stands out": "看不到视野",
    "left eye: ": "左眼：",
    "right eye: ": "右眼：",
    ", ": "、",
    "; ": "；",
}


def segment_name(name, language="en"):
    """What a class of a segmenter is called."""
    return SEGMENTS.get(name, (name.replace("_", " "),) * 2)[language == "zh"]


def label_name(label, language="en"):
    """What a label is called in a sentence; in Chinese also one that the vocabulary knows."""
    if language == "en":
        return LABEL_NAMES.get(label) or label_text(label)
    if label in LABELS_ZH:
        return LABELS_ZH[label]
    if label.startswith("grade_"):
        return f"{label.removeprefix('grade_')}级"
    known = find(read_vocabulary(), label)
    return known.zh[0] if known else label


def short(value):
    """A number with two decimals; below .1 with as many as show two of its digits."""
    return _two_digits(value, 2)


def percent(share):
    """A share as percent, without decimals; below a tenth with as many as show two digits."""
    return f"{_two_digits(100 * share, 0)}%"


def _two_digits(value, decimals):
    """At least so many decimals, and two digits that are not leading zeros."""
    if value:
        decimals = max(decimals, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def quality_zh(text):
    """What is said of a photograph's quality, in Chinese; what is not known stays as it is."""
    for english, chinese in QUALITY_ZH.items():
        text = text.replace(english, chinese)
    return text
