"""Another model takes over under load, and no request notices but by the model's name."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from oakum import store
from oakum.api import fit
from oakum.client import Client, Posted
from oakum.data import Dataset
from oakum.errors import ModelFileError
from oakum.serve.models import KEPT, Shelf
from tests.serve.live import Process, living, wait_for
from tests.serve.test_robust import tamper


def test_models_swap_under_load_without_a_failed_request(market: Dataset, model: Path, tmp_path: Path) -> None:
    other = fit("ease", market)
    with living(model, tmp_path / "s", workers=3) as (url, service):
        users = list(service.now[0].users)
        stop = threading.Event()
        seen: list[tuple[str, tuple[str, ...]]] = []
        failed: list[BaseException] = []

        def load(number: int) -> None:
            with Client(url, retries=0) as client:
                turn = number
                while not stop.is_set():
                    turn += 1
                    try:
                        found = client.recommend(users[turn % 20], k=5)
                        seen.append((found.model, (users[turn % 20], *(i.item_id for i in found))))
                        if turn % 7 == 0:
                            client.add_events([Posted(f"guest{number}", found.items[0].item_id)])
                    except Exception as error:
                        failed.append(error)

        threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        shelf, names = Shelf(model), [service.now[0].id]
        for turn in range(6):
            before = len(seen)
            shelf.publish(other if turn % 2 == 0 else store.load(model))
            wait_for(lambda: service.now[0].id != names[-1] and len(seen) > before + 20)  # noqa: B023
            names.append(service.now[0].id)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(seen) > 120
    assert {m.rsplit("-", 1)[0] for m, _ in seen} == {"item-knn", "ease"}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, answer in seen:  # each model says the same thing each time: no answer is half of one and half of another
        assert lists.setdefault(name.split("-")[0], {}).setdefault(answer[0], answer) == answer


def test_a_tampered_new_model_is_left_and_the_old_one_goes_on(market: Dataset, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with living(model, tmp_path / "s") as (url, service), Client(url) as client:
        first = client.recommend("u").model
        made = store.save(fit("ease", market), model / "refreshed" / "0001")
        tamper(made, "weights.safetensors")
        (model / "current.json").write_text('{"model": "0001"}')
        wait_for(lambda: 'outcome="refused"' in service.metrics.text())
        time.sleep(0.1)
        assert client.recommend("u").model == first
        assert client.ready()
        assert "was changed after it was saved" in capsys.readouterr().err
        (model / "current.json").write_text('{"model": "../x"}')
        time.sleep(0.2)
        assert client.recommend("u").model == first
        Shelf(model).publish(fit("ease", market))
        wait_for(lambda: client.recommend("u").model.startswith("ease"))


def test_fitting_again_into_the_served_folder_is_taken_over(market: Dataset, model: Path, tmp_path: Path) -> None:
    with living(model, tmp_path / "s") as (url, _), Client(url) as client:
        assert client.recommend("u").model.startswith("item-knn")
        store.save(fit("ease", market), model)
        wait_for(lambda: client.recommend("u").model.startswith("ease"))


def test_the_shelf_keeps_a_few_and_goes_back(market: Dataset, model: Path) -> None:
    shelf = Shelf(model)
    assert shelf.current() == model
    with pytest.raises(ModelFileError, match="no earlier model"):
        shelf.back()
    fitted = fit("item-knn", market)
    made = [shelf.publish(fitted) for _ in range(5)]
    assert shelf.current() == made[-1]
    assert sorted(p.name for p in (model / "refreshed").iterdir()) == [p.name for p in made[-KEPT:]]
    assert shelf.back() == made[-2]
    assert shelf.publish(fitted).name == "0006"
    assert shelf.back() == made[-2]  # which answered before it
    assert shelf.back() == made[-3]
    assert shelf.back() == model


def test_asked_to_stop_it_finishes_what_runs(saved: Path, tmp_path: Path) -> None:
    process = Process(saved, tmp_path / "s").start()
    answered: list[int] = []
    refused: list[str] = []

    def post(number: int) -> None:
        with process.client(retries=0) as client:
            for turn in range(10_000):
                try:
                    client.add_events([Posted(f"p{number}", "i", event_id=f"{number}-{turn}")])
                except Exception as error:
                    refused.append(str(error))
                    return
                answered.append(1)

    threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answered) > 100)
    assert process.stop() == 0
    for thread in threads:
        thread.join()
    assert process.log == ""
    assert all("did not answer" in r for r in refused)
    process.start()
    with process.client() as client:
        kept = sum(len(client.user(f"p{n}").events) for n in range(4))
    assert len(answered) <= kept <= len(answered) + 4
    process.stop()
