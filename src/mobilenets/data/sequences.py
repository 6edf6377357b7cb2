"""Which images come from one source picture, one clip or one sitting, told from their file names.

Frames of one clip look alike without being near-duplicates, so a random split scores what the network remembers. File
names often say it: `IMG_7079_MOV-12`, `clip3_frame_0012`, `…-1622730823329` (a time in milliseconds),
`20220216_222108`, `youtube-17`. They may also say nothing (`0001.jpg`, `IMG_1234.jpg`, `Golden-Delicious_001.jpg`),
so each rule is a claim that `groups.py` checks before it is believed.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .records import Sample

SITTING_SECONDS = 300  # pictures by one source with no longer pause between them were taken in one sitting

_ROBOFLOW = re.compile(r"\.rf\.[0-9a-z]+.*$", re.IGNORECASE)
_INNER_SUFFIX = re.compile(r"[._](?:jpe?g|png|bmp|webp|gif|tiff?|heic)_?$", re.IGNORECASE)
_VARIANT = re.compile(r"(?<=[0-9a-z])[-_ ](?:aug(?:mented)?|flip(?:ped)?|rot(?:ated)?|copy)[-_ ]?\d*$", re.IGNORECASE)
_CLIP = (
    re.compile(r"^(.*[-_. ]?(?:mov|mp4|avi|mkv|webm|m4v|mpe?g|3gp|wmv))[-_. #]+(?:frame[-_ ]?)?\d+$", re.IGNORECASE),
    re.compile(r"^(.*[0-9a-z])[-_. ]+(?:frame|frm|fr|f)[-_ ]?\d+$", re.IGNORECASE),
    re.compile(r"^(.*(?:video|clip|vid|seq|sequence|take|scene|session)[-_ ]?[0-9a-z]*)[-_ ]+\d+$", re.IGNORECASE),
)
_MILLISECONDS = re.compile(r"(?<!\d)(1[2-9]\d{11})(?!\d)")  # 2008 ... 2033
_DATE_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)(?:[-_ T.]+(?:at[-_ ])?)(\d{1,2})[-_.:h]?(\d\d)"
    r"(?:[-_.:m]?(\d\d))?(?!\d)[-_ ]*([ap]m)?",
    re.IGNORECASE,
)
_PHOTO_BOOTH = re.compile(
    r"(?<!\d)(\d{1,2})-(\d{1,2})-(\d\d)[-_ ]at[-_ ](\d{1,2})[-_.](\d\d)[-_ ]([ap]m)", re.IGNORECASE
)


@dataclass(frozen=True)
class Rule:
    """One claim about names: samples with the same key (None: no claim) belong together.

    `trusted` rules name a clip or picture outright; others are believed only where the pixels agree.
    """

    name: str
    keys: tuple[str | None, ...]
    trusted: bool


def sequence_rules(samples: Sequence[Sample], class_names: Sequence[str]) -> tuple[Rule, ...]:
    """The rules that say something about these names, the surest first."""
    stems = [name_stem(sample.name, class_names[sample.label]) for sample in samples]
    sources = [_VARIANT.sub("", stem) for stem, _ in stems]
    clips = [_clip(source) for source in sources]
    sittings = _sittings([None if clip else _timestamp(source) for clip, source in zip(clips, sources)])
    series = [None if clip or sitting else _series(source) for clip, sitting, source in zip(clips, sittings, sources)]
    repeated = [source if is_variant or source != stem else None for source, (stem, is_variant) in zip(sources, stems)]
    rules = (
        Rule("source picture", tuple(repeated), trusted=True),
        Rule("clip", tuple(clips), trusted=True),
        Rule("sitting", tuple(sittings), trusted=True),
        Rule("numbered series", tuple(series), trusted=False),
    )
    return tuple(rule for rule in rules if any(key is not None for key in rule.keys))


def name_stem(name: str, class_name: str) -> tuple[str, bool]:
    """(what the file name says beyond class and format, whether it is marked as one of several made from one picture).

    >>> name_stem("train/rock/rock.IMG_7079_MOV-12_jpg.rf.284f78f4.jpg", "rock")
    ('IMG_7079_MOV-12', True)
    >>> name_stem("train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg", "Apple")
    ('001', False)
    """
    *folders, base = name.split("/")
    stem = base.rpartition(".")[0] or base
    cut = _ROBOFLOW.sub("", stem)
    is_variant, stem = cut != stem, cut
    while (shorter := _INNER_SUFFIX.sub("", stem)) != stem:
        stem = shorter
    for word in {class_name, *class_name.split("/"), *folders}:
        if word and stem.lower().startswith(word.lower()):
            rest = stem[len(word) :]
            if not rest[:1].isalpha():
                stem = rest.lstrip("-_. ")
                break
    return stem, is_variant


def _clip(stem: str) -> str | None:
    for pattern in _CLIP:
        match = pattern.match(stem)
        if match:
            return match[1].lower()
    return None


def _series(stem: str) -> str | None:
    """What stands before the last number, "youtube-" of "youtube-17" and "" of "0246"; None without one at the end."""
    match = re.match(r"^(.*?)[(\[]?\d+[)\]]?$", stem)
    return None if match is None else match[1].lower()


def _timestamp(stem: str) -> tuple[str, float] | None:
    """(what stands before the time, seconds since 1970) of a name that states a date and time."""
    if match := _MILLISECONDS.search(stem):
        return stem[: match.start()].lower(), int(match[1]) / 1000
    if match := _DATE_TIME.search(stem):
        year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
        half = match[7]
    elif match := _PHOTO_BOOTH.search(stem):
        month, day, year, hour, minute = (int(match[i]) for i in range(1, 6))
        year, second, half = 2000 + year, 0, match[6]
    else:
        return None
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 59):
        return None
    if half and hour <= 12:
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    return stem[: match.start()].lower(), float(timegm((year, month, day, hour, minute, second)))


def _sittings(times: Sequence[tuple[str, float] | None]) -> list[str | None]:
    """A key per run of times of one source without a pause longer than SITTING_SECONDS."""
    by_source: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for i, time in enumerate(times):
        if time is not None:
            by_source[time[0]].append((time[1], i))
    keys: list[str | None] = [None] * len(times)
    for source, moments in by_source.items():
        moments.sort()
        start = last = moments[0][0]
        for moment, i in moments:
            if moment - last > SITTING_SECONDS:
                start = moment
            last = moment
            keys[i] = f"{source}@{start:.0f}"
    return keys
