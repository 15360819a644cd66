"""Compares found answers with kept ones: byte for byte, but for sentences for people that were reworded on purpose.

Operators read these sentences and nothing parses them, so their words may become better between versions. What they
say, and everything else, may not change: each phrase that did change stands in ``REWORDED``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

SENTENCES = frozenset({"message", "detail", "reason", "told"})
"""Names of the fields that hold sentences; evidence is none of them, for it is data that is handed through."""
REWORDED = {
    # What is decided.
    "joins rejoin {id}, which starts": "shares rejoin {id}, which starts",
    "nothing new: ": "starts nothing new: ",
    "nothing will run: ": "starts nothing: ",
    # Why.
    "nothing started in this store within the window": "this node has not rejoined this store within the window",
    "a rejoin of this store started less than a window ago": "this node rejoined this store less than one window ago",
    "and the next backs off": "and the next one waits for its backoff",
    "the limit on rejoins of the whole service is reached, and it waits for its turn":
        "the service has reached its global limit on rejoins, and this one waits for its turn",
    "the node has never attached, and its stores are not known":
        "the node has never attached, so its stores are not known",
    "no node of the host has attached": "no node of the host has ever attached",
    "in this store, and a rejoin would only feed churn": "in this store, so a rejoin would only disturb them",
    # What was seen.
    "it saw an agent attached, ": "at that time: an agent was attached, ",
    "it saw no agent attached, ": "at that time: no agent was attached, ",
    " attached, no start yet, ": " attached, no rejoin had started, ",
    " attached, last start {n} s before, ": " attached, the last rejoin started {n} s earlier, ",
    ", no neighbour, ": ", no neighbour was present, ",
    ", a neighbour's sign of life {n} s before, ": ", a neighbour was alive {n} s earlier, ",
    ", no rejoin of it waited, ": ", no rejoin of this store waited, ",
    ", {id} waited, ": ", rejoin {id} waited, ",
    ", {n} waiting in all": ", {n} waited in the whole service",
    # What became of it.
    "waits; due in {n} s": "starts in {n} s",
    "attempt {n} follows, in {n} s": "attempt {n} follows; starts in {n} s",
    "attempt {n} runs; its proof must come within {n} s": "attempt {n} is running; its proof is due within {n} s",
}  # fmt: skip
"""Phrase of the old code -> phrase of now; ``{n}`` stands for a number, ``{id}`` for the id of a rejoin."""
REWORDED_WHERE_SAVED = {
    "carried out; on trial until the suspicion ends": "carried out; waiting until the suspicion ends",
    "nothing shows that it healed": "nothing shows that the node recovered",
}
"""The same where a rejoin keeps the sentence: its old words are in the snapshot, the new ones come from the log."""
PLACEHOLDERS = {"{n}": r"(\d+(?:\.\d+)?)", "{id}": r"(\w+-\d+)"}

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None


class Comparison:
    """Compares, and remembers which phrases it met in their new words."""

    def __init__(self) -> None:
        self.met: set[str] = set()

    def differing(self, found: Mapping[str, Any], kept: Mapping[str, str]) -> list[str]:
        """The names of the answers that are not the same."""
        names = dict.fromkeys((*kept, *found))
        return [name for name in names if name not in found or not self._is_same(found[name], kept.get(name))]

    def _is_same(self, found: Any, kept: str | None) -> bool:
        if kept is None:
            return False
        if not isinstance(found, Message):
            return text(self._plain(json.loads(text(found)), json.loads(kept))) == text(found)
        message = type(found).FromString(base64.b64decode(kept))
        self._reword_message(found, message)
        return text(message) == text(found)

    def _reword_message(self, found: Message, kept: Message) -> None:
        """Put the new words into a kept message, where those are what was found."""
        for field, value in kept.ListFields():
            other = getattr(found, field.name)
            if isinstance(value, Message):
                self._reword_message(other, value)
            elif isinstance(value, str):
                if field.name in SENTENCES:
                    setattr(kept, field.name, self._sentence(other, value))
            elif field.message_type is not None:
                for one, old in zip(other, value, strict=False):
                    self._reword_message(one, old)

    def _plain(self, found: Json, kept: Json, name: str = "") -> Json:
        """Kept JSON, with the new words where those are what was found."""
        if isinstance(kept, dict) and isinstance(found, dict):
            return {key: self._plain(found.get(key), value, key) for key, value in kept.items()}
        if isinstance(kept, list) and isinstance(found, list) and len(found) == len(kept):
            return [self._plain(one, old, name) for one, old in zip(found, kept, strict=True)]
        return self._sentence(found, kept) if isinstance(kept, str) and name in SENTENCES else kept

    def _sentence(self, found: Json, kept: str) -> str:
        """The kept sentence in the words of now; those of a saved sentence may be the old ones."""
        asked, met = _reword(kept, ASKED)
        everywhere, met_saved = _reword(asked, SAVED)
        if found == asked:
            self.met |= met
            return asked
        if found == everywhere:
            self.met |= met | met_saved
            return everywhere
        return asked


def text(answer: Any) -> str:
    """An answer as it is kept: a protobuf message as base64, all else as JSON."""
    if isinstance(answer, Message):
        return base64.b64encode(answer.SerializeToString(deterministic=True)).decode()
    return json.dumps(answer)


Phrases = list[tuple[str, re.Pattern[str], str]]


def _phrases(reworded: Mapping[str, str]) -> Phrases:
    return [(old, _pattern(old), _replacement(new)) for old, new in reworded.items()]


def _pattern(phrase: str) -> re.Pattern[str]:
    """Matches a phrase, but not the end of a longer word before it."""
    parts = re.split(r"(\{\w+\})", phrase)
    start = r"\b" if phrase[0].isalpha() else ""
    return re.compile(start + "".join(PLACEHOLDERS.get(one, re.escape(one)) for one in parts))


def _replacement(phrase: str) -> str:
    """What takes the place of a match; the placeholders of both phrases are in the same order."""
    groups = iter(range(1, phrase.count("{") + 1))
    return re.sub(r"\{\w+\}", lambda _: rf"\g<{next(groups)}>", phrase)


def _reword(sentence: str, phrases: Phrases) -> tuple[str, set[str]]:
    """The sentence in the words of now, and which old phrases it had."""
    met = set[str]()
    for old, pattern, replacement in phrases:
        sentence, count = pattern.subn(replacement, sentence)
        if count:
            met.add(old)
    return sentence, met


ASKED, SAVED = _phrases(REWORDED), _phrases(REWORDED_WHERE_SAVED)
