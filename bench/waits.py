# SPDX-License-Identifier: Apache-2.0
"""What a caller waits, by catalogue: servers over several of them are asked the same in turn."""

import time
from statistics import median
from typing import TypeVar

from bench.asking import Client
from bench.measures import Options, Report, spread
from bench.questions import Question

Key = TypeVar("Key", int, str)
"""What a catalogue is called by: its size, or what was done to it."""

_OF_A_ROUND = 0.05
_LEAST_ANSWERS = 5


def compare(clients: dict[Key, Client], questions: dict[Key, list[Question]], options: Options) -> Report:
    """Of each question that all are asked, what its caller waits: in milliseconds, and as ratios to the first."""
    report: Report = {}
    for alike in zip(*questions.values(), strict=True):
        asked = dict(zip(questions, alike, strict=True))
        name = alike[0].name
        report[name] = _measure(clients, asked, options)
        waits = "  ".join(f"{figures['median']:8.3f}" for figures in report[name]["milliseconds"].values())
        options.say(f"{name:45} ms {waits}")
    return report


def _measure(clients: dict[Key, Client], asked: dict[Key, Question], options: Options) -> Report:
    images = {key: clients[key].ask(next(asked[key].requests)).images for key in asked}
    seconds = options.seconds * _OF_A_ROUND * len(asked)
    rounds = [_round(clients, asked, seconds) for _ in range(options.rounds)]
    return {
        "images": {str(key): shown for key, shown in images.items()},
        **_grown("milliseconds", "ratio", [{key: median(each) for key, each in waits.items()} for waits in rounds]),
        **_grown(
            "fastest", "ratio_of_fastest", [{key: _fast(each) for key, each in waits.items()} for waits in rounds]
        ),
    }


def _grown(waits: str, ratio: str, rounds: list[dict[Key, float]]) -> Report:
    """One figure (seconds) of each catalogue in each round, as milliseconds and as ratios to the first one's."""
    first, *others = rounds[0]
    return {
        waits: {str(key): spread([1e3 * done[key] for done in rounds]) for key in rounds[0]},
        ratio: {str(key): spread([done[key] / done[first] for done in rounds]) for key in others},
    }


def _fast(waits: list[float]) -> float:
    """What a tenth of the waits stays below: hardly moved by what else the machine does."""
    return sorted(waits)[len(waits) // 10]


def _round(clients: dict[Key, Client], asked: dict[Key, Question], seconds: float) -> dict[Key, list[float]]:
    """Every wait in seconds. They take turns with every request, so other work on the machine hits all alike."""
    waits: dict[Key, list[float]] = {key: [] for key in asked}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or any(len(each) < _LEAST_ANSWERS for each in waits.values()):
        for key, question in asked.items():
            waits[key].append(clients[key].ask(next(question.requests)).seconds)
    return waits
