"""The text of a case report, in English and Chinese, each sentence of a number and its place.

A sentence names the fact that it is made of (`source`), by the id that the page gives to that row;
there is no sentence without one.
"""

from fundus_diag.data.labels import LABEL_NAMES

EYES = {
    "en": {"left": "Left eye", "right": "Right eye", "": "Photograph"},
    "zh": {"left": "左眼", "right": "右眼", "": "照片"},
}
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
    "disc": ("optic disc", "视盘"),
    "cup": ("cup of the disc", "视杯"),
    "macula": ("macula", "黄斑"),
    "vessels": ("vessels", "血管"),
}
ANATOMY = ("disc", "cup", "macula", "vessels")
STRONG = 2.0  # times chance, from where on a region is said to belong to a label


def sentences(facts, language="en"):
    """Sentences of a case.

    Args:
        facts: of `case_report.case_facts`.
        language: "en" or "zh".

    Returns:
        [{"eye", "text", "source"}], eye by eye: labels, findings, segments, associations, then
        what was not looked at.
    """
    say = {"en": _English(), "zh": _Chinese()}[language]
    found = []
    for k, one in enumerate(facts["answers"]):
        eyes = [EYES[language][x] for x in one["eyes"] or [""]]
        who = say.both if len(eyes) > 1 else eyes[0]
        if one["why"]:
            found.append(_of(one["eyes"], say.not_gradable(who, one["why"]), f"answer-{k}"))
        for row in one["rows"]:
            if row["called"]:
                found.append(_of(one["eyes"], say.called(who, row), row["id"]))
        if one["rows"] and not one["why"] and not any(row["called"] for row in one["rows"]):
            found.append(_of(one["eyes"], say.nothing_called(who), f"answer-{k}"))
        if one["at_odds"]:
            found.append(_of(one["eyes"], say.at_odds(who), f"answer-{k}"))
        for text in filter(None, (one["poor"], one["unlike"])):
            found.append(_of(one["eyes"], say.beware(who, text), f"answer-{k}"))
    for eye, one in facts["photographs"].items():
        if not one["gradable"]:
            continue
        who = EYES[language][eye]
        for row in one["findings"]:
            if row["called"]:
                found.append(_of([eye], say.finding(who, row), row["id"]))
        for row in one["segments"]:
            if row["regions"]:
                found.append(_of([eye], say.segment(who, row), row["id"]))
        for row in one["associations"]:
            if row["called"] and row["ratio"] is not None and row["ratio"] >= STRONG:
                found.append(_of([eye], say.association(who, row), row["id"]))
    found += [_of([], say.left_out(what), "left-out") for what in facts["not_looked_at"]]
    return found


def segment_name(name, language="en"):
    """What a class of a segmenter is called."""
    return SEGMENTS.get(name, (name.replace("_", " "),) * 2)[language == "zh"]


def _of(eyes, text, source):
    return {"eye": eyes[0] if len(eyes) == 1 else "", "text": text, "source": source}


class _English:
    both = "Both eyes"

    def called(self, who, row):
        name = LABEL_NAMES.get(row["label"], row["label"])
        alike = f"{row['had']} of {row['n']} photographs of validation scored so"
        meant = f"; true of {alike}" * bool(row["n"])
        at = "" if row["threshold"] is None else f", called from {row['threshold']:.2f} on"
        return f"{who}: {name}, probability {row['probability']:.2f}{at}{meant}."

    def nothing_called(self, who):
        return f"{who}: none of the diseases reaches its threshold."

    def not_gradable(self, who, why):
        return f"{who}: not gradable: {why}."

    def at_odds(self, who):
        return f"{who}: normal and a disease are called at once: the network does not know."

    def beware(self, who, text):
        return f"{who}: beware, the photograph is {text}."

    def finding(self, who, row):
        at = f"{row['score']:.2f}, called from {row['threshold']:.2f} on"
        return f"{who}: in words, {row['phrase']} ({at})."

    def segment(self, who, row):
        name = segment_name(row["class"])
        if row["class"] in ANATOMY:
            return f"{who}: {name} outlined, {row['share_of_field']:.1%} of the field of view."
        text = f"{who}: {name}, {row['regions']}"
        if row["disc_areas"] is not None:
            text += f", {row['disc_areas']:.2f} disc areas in all"
        if row["near"] is not None:
            text += f"; {row['near']} within one disc diameter of the macula{_assumed(row)}"
            text += f", the nearest {row['nearest']:.1f} away"
        return text + "."

    def association(self, who, row):
        name = LABEL_NAMES.get(row["label"], row["label"])
        return (
            f"{who}: of the map of {name} {row['share']:.0%} lies in "
            f"{segment_name(row['region'])}, {row['ratio']:.1f} times what chance gives."
        )

    def left_out(self, what):
        kind, names = what
        names = [LABEL_NAMES.get(x, x) for x in names] if kind == "labels" else names
        names = [segment_name(x) for x in names] if kind == "segments" else names
        return {
            "eye": "Not looked at: the {} eye, of which there is no photograph.",
            "labels": "Not known to the network: diseases other than {}.",
            "segments": "Not outlined: anything but {}.",
            "no_segments": "Not outlined: lesions, vessels, disc (no segmenter was given).",
            "no_findings": "Not described in words: no run of findings was given.",
        }[kind].format(", ".join(names))


class _Chinese:
    both = "双眼"

    def called(self, who, row):
        name = LABELS_ZH.get(row["label"], row["label"])
        meant = f"；验证集中得分相近的{row['n']}张照片中有{row['had']}张确为此诊断" * bool(row["n"])
        at = "" if row["threshold"] is None else f"，阈值{row['threshold']:.2f}"
        return f"{who}：{name}，概率{row['probability']:.2f}{at}{meant}。"

    def nothing_called(self, who):
        return f"{who}：没有疾病达到阈值。"

    def not_gradable(self, who, why):
        return f"{who}：无法判读（{why}）。"

    def at_odds(self, who):
        return f"{who}：同时判为正常与患病，网络无法确定。"

    def beware(self, who, text):
        return f"{who}：请注意照片质量（{text}）。"

    def finding(self, who, row):
        name = row["zh"] or row["phrase"]
        return f"{who}：所见“{name}”，得分{row['score']:.2f}，阈值{row['threshold']:.2f}。"

    def segment(self, who, row):
        name = segment_name(row["class"], "zh")
        if row["class"] in ANATOMY:
            return f"{who}：已勾画{name}，占视野{row['share_of_field']:.1%}。"
        text = f"{who}：{name}{row['regions']}处"
        if row["disc_areas"] is not None:
            text += f"，共{row['disc_areas']:.2f}个视盘面积"
        if row["near"] is not None:
            assumed = "（位置为推定）" if _assumed(row) else ""
            text += f"；距黄斑中心{assumed}一个视盘直径内{row['near']}处"
            text += f"，最近{row['nearest']:.1f}个视盘直径"
        return text + "。"

    def association(self, who, row):
        name = LABELS_ZH.get(row["label"], row["label"])
        return (
            f"{who}：{name}的热图有{row['share']:.0%}位于{segment_name(row['region'], 'zh')}，"
            f"为随机水平的{row['ratio']:.1f}倍。"
        )

    def left_out(self, what):
        kind, names = what
        zh = {"left": "左", "right": "右"}
        said = [zh.get(x, LABELS_ZH.get(x, x)) for x in names]
        if kind == "segments":
            said = [segment_name(x, "zh") for x in names]
        return {
            "eye": "未检查：{}眼没有照片。",
            "labels": "网络不认识以下之外的疾病：{}。",
            "segments": "除{}外均未勾画。",
            "no_segments": "未勾画病灶、血管和视盘（没有给出分割网络）。",
            "no_findings": "没有文字描述（没有给出所见网络）。",
        }[kind].format("、".join(said))


def _assumed(row):
    return " (where it lies on average)" if row["macula"] == "assumed" else ""
