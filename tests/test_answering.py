"""The one thread that answers, and the line of questions before it."""

import asyncio
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.answering import MAX_WAITING, ROUND_DEVICES, Answering, AnsweringThread, load
from serving.problems import Problem
from serving.schema import Answer, Missing

LOOPBACK = "http://127.0.0.1:3000"


def test_who_waits_is_answered_together_and_more_than_the_line_takes_is_turned_away(fleet: Any) -> None:
    go_on, rounds = threading.Event(), list[int]()

    class Slow(Answering):
        def devices(self, device_ids: Sequence[str]) -> list[Answer | Missing]:
            go_on.wait()
            rounds.append(len(device_ids))
            return super().devices(device_ids)

    def load_slow() -> Slow:
        loaded = load(fleet.workspace, fleet.session_run)
        return Slow(loaded.model, loaded.store, loaded.service, loaded.judgement)

    async def ask_all(thread: AnsweringThread) -> list[Any]:
        await thread.settled()
        first = asyncio.create_task(thread.devices(["tracker-0"]))
        await asyncio.sleep(0)
        asked = [asyncio.create_task(thread.devices([f"tracker-{i % 9}"])) for i in range(MAX_WAITING + 2)]
        while not asked[-1].done():
            await asyncio.sleep(0)
        asked[3].cancel()
        go_on.set()
        return await asyncio.gather(first, *asked, return_exceptions=True)

    thread = AnsweringThread(load_slow)
    first, *answered = asyncio.run(ask_all(thread))
    thread.close()
    assert rounds == [1, ROUND_DEVICES, MAX_WAITING - ROUND_DEVICES]
    assert first[0].device_id == "tracker-0"
    for i, answer in enumerate(answered[:MAX_WAITING]):
        status = "missing" if i % 9 == 8 else "known"
        assert i == 3 or [(one.device_id, one.status) for one in answer] == [(f"tracker-{i % 9}", status)]
    assert isinstance(answered[3], asyncio.CancelledError)
    for turned_away in answered[MAX_WAITING:]:
        assert isinstance(turned_away, Problem)
        assert (turned_away.kind, turned_away.headers) == ("overloaded", {"Retry-After": "1"})


def test_a_batch_that_was_admitted_is_not_turned_away_half_answered(fleet: Any) -> None:
    go_on = threading.Event()

    class Slow(Answering):
        def devices(self, device_ids: Sequence[str]) -> list[Answer | Missing]:
            go_on.wait()
            return super().devices(device_ids)

    def load_slow() -> Slow:
        loaded = load(fleet.workspace, fleet.session_run)
        return Slow(loaded.model, loaded.store, loaded.service, loaded.judgement)

    async def ask_all(thread: AnsweringThread) -> list[Answer | Missing]:
        await thread.settled()
        batch = asyncio.create_task(thread.devices(["tracker-0"] * (ROUND_DEVICES + 1)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(thread.devices(["tracker-1"])) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*others)
        return await batch

    thread = AnsweringThread(load_slow)
    answered = asyncio.run(ask_all(thread))
    thread.close()
    assert [one.device_id for one in answered] == ["tracker-0"] * (ROUND_DEVICES + 1)


def test_an_answer_of_a_model_of_simulated_traffic_says_so(fleet: Any, tmp_path: Path) -> None:
    learnt = tmp_path / "run"
    shutil.copytree(fleet.session_run, learnt)
    told = {"headline": {"sentence": fleet.sentence}, "simulated": True}
    (learnt / "report.json").write_text(json.dumps(told), encoding="utf-8")
    (answer,) = load(fleet.workspace, learnt).devices(["tracker-3"])
    assert isinstance(answer, Answer)
    assert answer.simulated is True
