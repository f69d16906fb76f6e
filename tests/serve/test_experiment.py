"""Two models at once: who is answered by which, what is kept of it, what it says, how it ends."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from oakum import store
from oakum.api import fit
from oakum.cli.app import dispatch
from oakum.client import Client, Posted
from oakum.data import Dataset
from oakum.errors import ParameterError
from oakum.release import Experiment, standing
from oakum.serve.models import Shelf
from oakum.state import Event, State
from oakum.state.experiments import answer, answered, begin, end, experiments
from tests.serve.live import living, wait_for

DAY = 86_400_000_000
PLAN = Experiment(name="trial", share=0.5)


@pytest.fixture(scope="session")
def other(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store.save(fit("ease", market), tmp_path_factory.mktemp("candidate") / "m")


def settings(other: Path, plan: Experiment = PLAN) -> dict[str, Any]:
    return {"candidate": str(other), "experiment": plan}


def arms(users: list[str]) -> tuple[str, str]:
    """Somebody whom the candidate answers, and somebody else."""
    return next(u for u in users if PLAN.takes_part(u)), next(u for u in users if not PLAN.takes_part(u))


def test_people_are_answered_by_their_arm_and_every_reply_says_by_which(
    model: Path, other: Path, tmp_path: Path
) -> None:
    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        users, current = list(service.now[0].users), service.now[0].id
        candidate = service.trial.now[0].id  # type: ignore[union-attr]
        seen = {u: client.recommend(u, k=3).model for u in users[:60]}
        assert seen == {u: candidate if PLAN.takes_part(u) else current for u in users[:60]}
        mine, theirs = arms(users)
        for path, more in (("explain", {"item_id": "i000003"}), ("score", {"items": ["i000003"]})):
            for user, model_id in ((mine, candidate), (theirs, current)):
                assert client._call("POST", f"/v1/{path}", {"user_id": user, **more})["model"] == model_id
        assert client.similar("i000003").model == current
        assert client.recommend(history=["i000003"]).model == current  # nobody in particular
        wait_for(lambda: len(answered(service.state, "trial")) == 60)
        first = {a.person: a.first for a in answered(service.state, "trial")}
        urlopen(f"{url}/user?id={users[70]}").read()  # a look at a person's page is no answer to that person
        client.recommend(users[0])
        service.trial._known.clear()  # type: ignore[union-attr]
        client.recommend(users[0])
        time.sleep(0.1)
        assert {a.person: a.first for a in answered(service.state, "trial")} == first  # the first time is the one
    with living(model, tmp_path / "s", **settings(other)) as (url, _):  # and after a restart
        assert {u: Client(url).recommend(u, k=3).model for u in users[:60]} == seen


def test_what_is_kept_names_nobody_and_goes_with_the_person(model: Path, other: Path, tmp_path: Path) -> None:
    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        user = next(iter(service.now[0].users))
        client.recommend(user)
        wait_for(lambda: len(answered(service.state, "trial")) == 1)
        rows = sqlite3.connect(tmp_path / "s" / "state.sqlite").execute("SELECT * FROM answered").fetchall()
        assert len(rows[0]) == 4
        assert user not in str(rows)
        known = client._call("GET", f"/v1/users/{user}")  # all that is known of a person says so
        assert known["experiments"][0]["experiment"] == "trial"
        client.forget_user(user)
        assert answered(service.state, "trial") == []
        client.recommend(user)
        answer(service.state, "trial", user, True, 1).result()  # not even when it comes late
        assert answered(service.state, "trial") == []
        assert client.recommend(user).model == service.now[0].id


def test_figures_are_those_of_the_people_whose_days_are_over(state: State) -> None:
    plan = Experiment(name="e", share=0.5, window=1.0, tightest=200)
    running = begin(state, "e", plan.to_json())
    rng = np.random.default_rng(0)
    now, expected = 1_800_000_000.0, {False: [], True: []}  # type: ignore[var-annotated]
    events = []
    for n in range(400):
        arm, old = plan.takes_part(n), n < 300
        first = int((now - (90_000 + n if old else 100 + n)) * 1e6)
        answer(state, "e", str(n), arm, first)
        acts = rng.random() < 0.3 + 0.4 * arm
        if acts:
            events += [Event(str(n), "i", first + 1000, weight=3.0, type="buy"), Event(str(n), "i", first + 2000)]
        events.append(Event(str(n), "i", first - 1))  # before
        events.append(Event(str(n), "i", first + DAY + 1))  # after the window
        if old:
            expected[arm].append(float(acts))
    state.add_events([*events, Event("stranger", "i", int(now * 1e6))])[0].result()
    found = standing(state, running, now=now)
    for arm, side in ((False, found.current), (True, found.candidate)):
        assert (side.counted, side.mean) == (len(expected[arm]), pytest.approx(np.mean(expected[arm])))
        assert side.answered == sum(plan.takes_part(n) is arm for n in range(400))
    assert found.effect is not None
    assert found.effect.low > 0
    assert "candidate is better" in found.sentence
    assert json.loads(json.dumps(found.to_json()))["effect"]["n"] == 300
    for measure, factor in (("events", 2.0), ("weight", 4.0)):
        other = begin(state, measure, {**plan.to_json(), "name": measure, "measure": measure})
        _copy(state, "e", measure)
        same = standing(state, type(other)(other.name, other.settings, other.made, 0), now=now)
        assert same.candidate.mean == pytest.approx(factor * found.candidate.mean)
    bought = type(running)("e", {**running.settings, "event": "buy", "measure": "events"}, running.made, 0)
    assert standing(state, bought, now=now).candidate.mean == pytest.approx(found.candidate.mean)


def _copy(state: State, old: str, new: str) -> None:
    sql = "INSERT INTO answered SELECT ?, person, candidate, first FROM answered WHERE experiment = ?"
    state.write(lambda c: c.execute(sql, (new, old)))


def test_an_uneven_split_is_said_before_any_figure(state: State) -> None:
    running = begin(state, "e", Experiment(name="e", share=0.5).to_json())
    for n in range(100):
        answer(state, "e", str(n), n < 20, 1).result()
    found = standing(state, running)
    assert found.split_p < 0.001
    assert "not split as they should be" in found.sentence


def test_one_name_is_one_experiment(state: State) -> None:
    plan = {"share": 0.1, "base": ""}
    assert begin(state, "e", plan) == begin(state, "e", {"share": 0.1, "base": "0003"})
    with pytest.raises(ParameterError, match=r"share = 0\.1, now it is 0\.2"):
        begin(state, "e", {"share": 0.2, "base": ""})
    with pytest.raises(ParameterError, match="no experiment 'f'"):
        end(state, "f", "why")


def test_a_release_ends_it_and_a_refresh_does_not(market: Dataset, model: Path, other: Path, tmp_path: Path) -> None:
    shelf = Shelf(model)
    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        mine, _ = arms(list(service.now[0].users))
        old = service.now[0].id
        shelf.publish(fit("item-knn", market, k=7))  # as a refresh does
        wait_for(lambda: service.now[0].id != old)
        assert client.recommend(mine).model.startswith("ease-")
        assert experiments(service.state)["trial"].ended is None
        shelf.publish(store.load(other), base=True)
        wait_for(lambda: service.trial.ended and service.now[0].id.startswith("ease-"))  # type: ignore[union-attr]
        assert client.recommend(mine).model == service.now[0].id
        assert "release" in str(experiments(service.state)["trial"].why)
        wait_for(lambda: len(service.panel.moves) == 2)  # measured after the swap
        assert 0 < service.panel.moves[0].churn.value <= 1
    with living(model, tmp_path / "s", **settings(other)) as (url, service):  # starting it the same way goes on without
        assert service.trial.ended  # type: ignore[union-attr]
        assert Client(url).recommend(mine).model == service.now[0].id


def test_a_candidate_may_be_refreshed_and_a_broken_one_is_not_used(
    market: Dataset, model: Path, tmp_path: Path
) -> None:
    other = store.save(fit("ease", market), tmp_path / "other")
    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        mine, _ = arms(list(service.now[0].users))
        first = client.recommend(mine).model
        Shelf(other).publish(fit("ease", market, l2=7.0))
        wait_for(lambda: client.recommend(mine).model != first)
        second = client.recommend(mine).model
        broken = shutil.copytree(other / "refreshed" / "0001", other / "refreshed" / "0002")
        (broken / "schema.json").write_text("{")
        (other / "current.json").write_text('{"model": "0002", "base": "", "past": []}')
        (model / "current.json").write_text("nonsense")
        time.sleep(0.4)
        assert client.recommend(mine).model == second
        assert experiments(service.state)["trial"].ended is None
        assert "oakum_state_up 1" in service.metrics.text()


def test_the_command_shows_and_stops(
    model: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*line: str) -> str:
        with pytest.raises(SystemExit) as ended:
            dispatch(["experiment", *line, "--state", str(tmp_path / "s")])
        assert ended.value.code == 0
        return capsys.readouterr().out

    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        mine, theirs = arms(list(service.now[0].users))
        client.recommend(mine)
        client.recommend(theirs)
        wait_for(lambda: len(answered(service.state, "trial")) == 2)
        found = json.loads(run("--json"))[0]
        assert (found["current"]["answered"], found["candidate"]["answered"]) == (1, 1)
        assert "for none of them the 7 days are over" in run()
        run("trial", "--stop")
        wait_for(lambda: service.trial.ended)  # type: ignore[union-attr]
        assert client.recommend(mine).model == service.now[0].id
        assert "stopped by command" in run()
    with pytest.raises(ParameterError, match="no experiment 'other'"):
        dispatch(["experiment", "other", "--state", str(tmp_path / "s")])


def test_figures_for_machines(model: Path, other: Path, tmp_path: Path) -> None:
    with living(model, tmp_path / "s", **settings(other)) as (url, service), Client(url) as client:
        items = list(service.now[0].items)
        client.add_events([Posted(f"n{n}", items[n % 5]) for n in range(100)] + [Posted("x", "unheard of")])
        client.recommend("n1")
        wait_for(lambda: len(answered(service.state, "trial")) == 1)
        service.look()
        text = service.metrics.text()
        for line in ("oakum_drift_unknown_items 0.0099", "oakum_drift_items ", "oakum_drift_items_bar ", "oakum_experiment_people 1", "oakum_events_held 0"):  # fmt: skip
            assert f"\n{line}" in text, line
        assert service.looked is not None
        assert service.looked.items.verdict == "strong"  # five items take everything
        assert service.looked.candidate_move is not None
