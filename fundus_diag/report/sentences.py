"""The text of a case report, in English and Chinese, each sentence of a number and its place.

A sentence names the fact that it is made of (`source`), by the id that the page gives to that row,
and the outlined region that it speaks of (`region`), where there is one; there is no sentence
without a source.
"""

from fundus_diag.data.labels import is_healthy
from fundus_diag.metrics.meaning import NEAR
from fundus_diag.report.wording import (
    ANATOMY,
    label_name,
    percent,
    quality_zh,
    segment_name,
    short,
)

EYES = {
    "en": {"left": "Left eye", "right": "Right eye", "": "Photograph"},
    "zh": {"left": "左眼", "right": "右眼", "": "照片"},
}
STRONG = 2.0  # times chance, from where on a region is said to belong to a label


def sentences(facts, language="en"):
    """Sentences of a case.

    Args:
        facts: of `case_report.case_facts`.
        language: "en" or "zh".

    Returns:
        [{"eye", "text", "source", "region"}], eye by eye: labels, findings, segments, associations,
        then what was not looked at.
    """
    say = {"en": _English(), "zh": _Chinese()}[language]
    found = []
    for k, one in enumerate(facts["answers"]):
        eyes, answer = one["eyes"], f"answer-{k}"
        who = say.both if len(eyes) > 1 else EYES[language][(eyes or [""])[0]]
        if one["why"]:
            found.append(_of(eyes, say.not_gradable(who, one["why"]), answer))
        for row in one["rows"]:
            if row["called"]:
                # Of a patient a disease is that of any eye, health of all.
                either = len(eyes) > 1 and not is_healthy(row["label"])
                whose = say.either if either else who
                found.append(_of(eyes, say.called(whose, row, facts["unit"]), row["id"]))
        if one["rows"] and not one["why"] and not any(row["called"] for row in one["rows"]):
            found.append(_of(eyes, say.nothing_called(who), answer))
        if one["at_odds"]:
            found.append(_of(eyes, say.at_odds(who), answer))
        if one["poor"]:
            found.append(_of(eyes, say.poor(who, one["poor"]), answer))
        elif one["poor"] is not None and not one["why"]:
            found.append(_of(eyes, say.fine(who), answer))
        if one["unlike"]:
            found.append(_of(eyes, say.unlike(who, one["distance"]), answer))
    for eye, one in facts["photographs"].items():
        if not one["gradable"]:
            continue
        who = EYES[language][eye]
        for row in one["findings"]:
            if row["called"]:
                regions = [x["id"] for x in row["outlined"] if x["regions"]]
                found.append(_of([eye], say.finding(who, row), row["id"], *regions[:1]))
        for row in one["segments"]:
            if row["regions"]:
                found.append(_of([eye], say.segment(who, row), row["id"], row["id"]))
        if one["macula"] and one["macula"]["how"] == "outside":
            found.append(_of([eye], say.no_macula(who), f"macula-{eye}"))
        for row in one["associations"]:
            if row["called"] and row["ratio"] is not None and row["ratio"] >= STRONG:
                text = say.association(who, row)
                found.append(_of([eye], text, row["id"], row["outline"]))
    found += [_of([], say.left_out(what), "left-out") for what in facts["not_looked_at"]]
    return found


def _of(eyes, text, source, region=None):
    eye = eyes[0] if len(eyes) == 1 else ""
    return {"eye": eye, "text": text, "source": source, "region": region}


def _apart(row):
    """Whether those of val that were scored nearest lie too far away to be called alike."""
    return max(row["high"] - row["probability"], row["probability"] - row["low"]) > NEAR


class _English:
    both = "Both eyes"
    either = "One eye at least (both are read together)"
    units = {"eye": "photographs", "patient": "patients"}

    def called(self, who, row, unit):
        name, units = label_name(row["label"]), self.units[unit]
        meant = ""
        if row["n"] and _apart(row):
            meant = f"; of the {row['n']} {units} of validation scored nearest, "
            meant += f"{short(row['low'])} to {short(row['high'])}, {row['had']} had it"
        elif row["n"]:
            meant = f"; true of {row['had']} of {row['n']} {units} of validation scored so"
        at = "" if row["threshold"] is None else f", called from {short(row['threshold'])} on"
        return f"{who}: {name}, probability {short(row['probability'])}{at}{meant}."

    def nothing_called(self, who):
        return f"{who}: none of the diseases reaches its threshold."

    def not_gradable(self, who, why):
        return f"{who}: not gradable: {why}."

    def at_odds(self, who):
        return f"{who}: normal and a disease are called at once: the network does not know."

    def poor(self, who, text):
        return f"{who}: poor photograph: {text}."

    def fine(self, who):
        return f"{who}: quality within the limits of the photographs that were learned."

    def unlike(self, who, distance):
        return (
            f"{who}: unlike the photographs that were learned: {distance:.1f} times as far from "
            "them as 99 % of those of validation."
        )

    def finding(self, who, row):
        at = f"{short(row['score'])}, called from {short(row['threshold'])} on"
        return f"{who}: in words, {row['phrase']} ({at}){self._outlined(row)}."

    def _outlined(self, row):
        there = [x for x in row["outlined"] if x["regions"]]
        if there:
            return "; outlined: " + ", ".join(_counted(x, "en") for x in there)
        names = ", ".join(segment_name(x["class"]) for x in row["outlined"])
        return f"; of what shows it, {names}, nothing is outlined" * bool(names)

    def segment(self, who, row):
        name = segment_name(row["class"])
        if row["class"] in ANATOMY:
            return f"{who}: {name} outlined, {percent(row['share_of_field'])} of the field of view."
        text = f"{who}: {name}, {row['regions']}"
        if row["disc_areas"] is not None:
            text += f", {short(row['disc_areas'])} disc areas in all"
        if row["near"] is not None:
            text += f"; {row['near']} within one disc diameter of the macula{_assumed(row)}"
            text += f", the nearest {row['nearest']:.1f} away"
        return text + "."

    def no_macula(self, who):
        return (
            f"{who}: by where the disc lies, the macula is out of the photograph: it shows another "
            "part of the eye, or the other eye than its name says; no distances from the macula."
        )

    def association(self, who, row):
        name = row["phrase"] or label_name(row["label"])
        return (
            f"{who}: of the map of {name} {percent(row['share'])} lies in "
            f"{segment_name(row['region'])}, {row['ratio']:.1f} times what chance gives."
        )

    def left_out(self, what):
        kind, names = what
        names = [label_name(x) for x in names] if kind == "labels" else names
        names = [segment_name(x) for x in names] if kind == "segments" else names
        return {
            "eye": "Not looked at: the {} eye, of which there is no photograph.",
            "labels": "Not known to the network: anything but {}.",
            "grades": "Not known to the network: anything but its grades.",
            "quality": "Not judged: the photograph's quality, of which the run has no limits.",
            "segments": "Not outlined: anything but {}.",
            "no_segments": "Not outlined: lesions, vessels, disc (no segmenter was given).",
            "no_findings": "Not described in words: no run of findings was given.",
        }[kind].format(", ".join(names))


class _Chinese:
    both = "双眼"
    either = "至少一眼（双眼合并判断）"
    units = {"eye": "张照片", "patient": "名患者"}

    def called(self, who, row, unit):
        name, units = label_name(row["label"], "zh"), self.units[unit]
        meant = ""
        if row["n"] and _apart(row):
            meant = f"；验证集中得分最近的{row['n']}{units}（{short(row['low'])}至"
            meant += f"{short(row['high'])}）中有{row['had']}{units[0]}确为此诊断"
        elif row["n"]:
            meant = f"；验证集中得分相近的{row['n']}{units}中有{row['had']}{units[0]}确为此诊断"
        at = "" if row["threshold"] is None else f"，阈值{short(row['threshold'])}"
        return f"{who}：{name}，概率{short(row['probability'])}{at}{meant}。"

    def nothing_called(self, who):
        return f"{who}：没有疾病达到阈值。"

    def not_gradable(self, who, why):
        return f"{who}：无法判读（{quality_zh(why)}）。"

    def at_odds(self, who):
        return f"{who}：同时判为正常与患病，网络无法确定。"

    def poor(self, who, text):
        return f"{who}：照片质量差（{quality_zh(text)}）。"

    def fine(self, who):
        return f"{who}：照片质量在训练照片的范围之内。"

    def unlike(self, who, distance):
        return f"{who}：与训练照片差异较大，距离为99%的验证照片的{distance:.1f}倍。"

    def finding(self, who, row):
        name = row["zh"] or row["phrase"]
        at = f"得分{short(row['score'])}，阈值{short(row['threshold'])}"
        return f"{who}：所见“{name}”，{at}{self._outlined(row)}。"

    def _outlined(self, row):
        there = [x for x in row["outlined"] if x["regions"]]
        if there:
            return "；已勾画" + "、".join(_counted(x, "zh") for x in there)
        names = "、".join(segment_name(x["class"], "zh") for x in row["outlined"])
        return f"；未勾画到相应的{names}" * bool(names)

    def segment(self, who, row):
        name = segment_name(row["class"], "zh")
        if row["class"] in ANATOMY:
            return f"{who}：已勾画{name}，占视野{percent(row['share_of_field'])}。"
        text = f"{who}：{name}{row['regions']}处"
        if row["disc_areas"] is not None:
            text += f"，共{short(row['disc_areas'])}个视盘面积"
        if row["near"] is not None:
            assumed = "（位置为推定）" if _assumed(row) else ""
            text += f"；距黄斑中心{assumed}一个视盘直径内{row['near']}处"
            text += f"，最近{row['nearest']:.1f}个视盘直径"
        return text + "。"

    def no_macula(self, who):
        return (
            f"{who}：按视盘位置推定，黄斑在照片之外：照片可能拍摄其他部位，"
            "或左右眼与文件名不符；未给出与黄斑的距离。"
        )

    def association(self, who, row):
        name = row["phrase"] or row["label"]
        return (
            f"{who}：{label_name(name, 'zh')}的热图有{percent(row['share'])}位于"
            f"{segment_name(row['region'], 'zh')}，为随机水平的{row['ratio']:.1f}倍。"
        )

    def left_out(self, what):
        kind, names = what
        zh = {"left": "左", "right": "右"}
        said = [zh.get(x) or label_name(x, "zh") for x in names]
        if kind == "segments":
            said = [segment_name(x, "zh") for x in names]
        return {
            "eye": "未检查：{}眼没有照片。",
            "labels": "网络不认识以下之外的疾病：{}。",
            "grades": "网络只认识分级，不认识其他疾病。",
            "quality": "未判断照片质量（该网络没有质量界限）。",
            "segments": "除{}外均未勾画。",
            "no_segments": "未勾画病灶、血管和视盘（没有给出分割网络）。",
            "no_findings": "没有文字描述（没有给出所见网络）。",
        }[kind].format("、".join(said))


def _assumed(row):
    """How the macula's place is known, where it was not outlined."""
    return "" if row["macula"] == "segmented" else " (as it lies from the disc)"


def _counted(row, language):
    name = segment_name(row["class"], language)
    if row["class"] in ANATOMY:
        return name
    return f"{name} {row['regions']}" if language == "en" else f"{name}{row['regions']}处"
