"""The command line as a user meets it: interfaces kept, errors in sentences, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from oakum.cli.app import COMMANDS
from oakum.data.convert import convert
from oakum.data.simulate import Market, simulate

RUN = [sys.executable, "-c", "from oakum.cli import main; main()"]


def oakum(*arguments: Any, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    found = subprocess.run([*RUN, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)
    assert found.returncode == code, f"exit {found.returncode}: {found.stdout[-2000:]} {found.stderr[-2000:]}"
    assert "Traceback" not in found.stderr
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = simulate(Market(users=150, items=100, events=4000), seed=1)
    return convert(data, tmp_path_factory.mktemp("log") / "log.csv")


@pytest.fixture(scope="module")
def model(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "m"
    oakum("fit", "item-knn", log, "--out", out)
    return out


def test_help_names_every_command_and_is_quick() -> None:
    began = time.perf_counter()
    text = oakum("--help").stdout
    assert time.perf_counter() - began < 2.0
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    text = oakum(name, "--help").stdout
    assert "Usage" in text
    if name != "data":
        assert "--json" in text


def test_a_wrong_name_suggests_the_nearest() -> None:
    assert "Did you mean 'audit'" in oakum("audti", code=2).stderr
    assert "Did you mean 'lightgcn'" in oakum("show", "lightgnc", code=2).stderr


def test_fit_evaluate_recommend(log: Path, model: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    frame = pl.read_csv(log)
    frame.sample(200, seed=1).with_columns(pl.col("item_id").shuffle(seed=2)).write_csv(test)
    found = json.loads(oakum("evaluate", model, "--test", test, "--k", "5,10", "--json").stdout)
    for name in ("ndcg@10", "recall@5"):
        entry = found["metrics"][name]
        assert {"value", "low", "high", "n"} <= set(entry)
        assert entry["low"] <= entry["value"] <= entry["high"]
    users = tmp_path / "users.txt"
    users.write_text("u000003\nu000001\nnobody\n")
    lists = json.loads(oakum("recommend", model, "--users", users, "--k", 4, "--json").stdout)
    assert [x["user"] for x in lists] == ["u000003", "u000001", "nobody"]
    assert all(len(x["items"]) == 4 for x in lists)
    assert "popular" in lists[2]["fallback"]
    owned = set(frame.filter(pl.col("user_id") == "u000003")["item_id"])
    assert not owned & {x["item"] for x in lists[0]["items"]}
    some = sorted(set(frame["item_id"]) - {"i000001"})[3:6]
    few = f"item_id in {json.dumps(some)}"
    chosen = json.loads(oakum("recommend", model, "--history", "i000001", "--filter", few, "--json").stdout)
    assert {i["item"] for i in chosen[0]["items"]} == set(some)
    assert "nothing" in oakum("recommend", model, "--history", "i000001", "--filter", "nothing < 3", code=2).stderr
    assert "[unknown and ignored: zzz]" in oakum("recommend", model, "--history", "i000001,zzz").stdout
    assert "ignored" not in oakum("recommend", model, "--history", "i000001").stdout
    one = json.loads(oakum("recommend", model, "--history", "i000001,i000002", "--k", 3, "--json").stdout)
    assert len(one[0]["items"]) == 3


def test_ids_come_back_as_the_log_spelt_them(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text(
        "user_id,item_id\n" + "".join(f"{u},{100 + (u * 7 + k) % 9}\n" for u in range(9) for k in range(4))
    )
    oakum("fit", "popularity", tmp_path / "n.csv", "--out", tmp_path / "m")
    pl.DataFrame({"user_id": [5, 3]}).write_parquet(tmp_path / "u.parquet")
    found = json.loads(oakum("recommend", tmp_path / "m", "--users", tmp_path / "u.parquet", "--k", 2, "--json").stdout)
    assert [x["user"] for x in found] == [5, 3]
    assert all(isinstance(i["item"], int) for x in found for i in x["items"])


def test_fit_with_settings_plugins_and_a_split(log: Path, tmp_path: Path) -> None:
    found = json.loads(
        oakum(
            "fit", "bpr-mf", log, "--out", tmp_path / "m", "--set", "embedding_dim=8", "--set", "epochs=2",
            "--plugin", "vat", "--split", "time", "--seed", 3, "--json",
        ).stdout
    )  # fmt: skip
    assert found["system"]["embedding_dim"] == 8
    assert "ndcg@10" in found["metrics"]
    assert (
        "no parameter 'embeding_dim'"
        in oakum("fit", "bpr-mf", log, "--out", tmp_path / "x", "--set", "embeding_dim=8", code=2).stderr
    )
    assert (
        "in [1, 4096]"
        in oakum("fit", "bpr-mf", log, "--out", tmp_path / "x", "--set", "embedding_dim=0", code=2).stderr
    )
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows in a file: two sites, a price, a column of the part."""
    rng = np.random.default_rng(0)
    n = 1200
    site, price = rng.integers(0, 4, n), rng.normal(size=n)
    chance = 1 / (1 + np.exp(-(np.array([2.0, -2.0, 1.0, -1.0])[site] + price)))
    frame = pl.DataFrame(
        {
            "label": (rng.random(n) < chance).astype(int),
            "site": [f"s{k}" for k in site],
            "device": [f"d{k}" for k in rng.integers(0, 3, n)],
            "price": price.round(3),
        }
    )
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    frame.write_csv(path)
    return path


@pytest.mark.parametrize(
    ("slug", "settings"),
    [("deepfm", ["hidden=16"]), ("optinter", ["hidden=16", "embedding_dim=4", "cross_dim=2", "search_epochs=1"])],
)
def test_models_of_rows_are_fitted_measured_and_not_audited(
    slug: str, settings: list[str], clicks: Path, tmp_path: Path
) -> None:
    sets = [x for s in (*settings, "epochs=6", "batch_size=64", "learning_rate=0.02") for x in ("--set", s)]
    out = tmp_path / "m"
    found = json.loads(
        oakum("fit", slug, clicks, "--out", out, *sets, "--split", "rows", "--user", "", "--item", "", "--json").stdout
    )
    names = ("auc", "log_loss", "brier", "ece")
    assert set(found["metrics"]) == set(names)
    for name in names:
        one = found["metrics"][name]
        assert one["low"] <= one["value"] <= one["high"]
        assert one["low"] < one["high"]
    assert found["metrics"]["auc"]["value"] > 0.75
    assert any("Always answering" in n for n in found["notes"])

    shown = oakum("evaluate", out, "--test", clicks).stdout
    assert [line.split()[0] for line in shown.splitlines()[:4]] == list(names)
    assert "1,200 rows measured" in shown
    frame = pl.read_csv(clicks)
    odd = tmp_path / "odd.csv"
    frame.drop("device").with_columns(site=pl.lit("elsewhere"), clicked=pl.col("label")).drop("label").write_csv(odd)
    told = oakum("evaluate", out, "--test", odd, "--value", "clicked").stdout
    assert "The rows have no column device, which the model reads" in told
    assert "site in 100.0% of the rows (first: 'elsewhere')" in told
    blind = tmp_path / "blind.csv"
    frame.drop("label").write_csv(blind)
    assert "'blind' has no label" in oakum("evaluate", out, "--test", blind, "--value", "", code=2).stderr
    foreign = tmp_path / "foreign.csv"
    frame.select("label", a="price").write_csv(foreign)
    assert "none of the columns that the model reads" in oakum("evaluate", out, "--test", foreign, code=2).stderr

    told = oakum("audit", clicks, "--system", slug, "--user", "", "--item", "", "--out", tmp_path / "r", code=2).stderr
    assert f"'{slug}' predicts single rows, and every audit judges lists of items" in told
    assert len(told.strip().splitlines()[-1].split(". ")) <= 2


def test_a_log_of_rows_is_not_audited(clicks: Path, tmp_path: Path) -> None:
    told = oakum("audit", clicks, "--user", "", "--item", "", "--out", tmp_path / "report", code=2).stderr
    assert "has rows without users, and every audit judges lists of items for people" in told


def test_attack_reports_exposure_and_counted_budget(log: Path) -> None:
    found = json.loads(
        oakum(
            "attack",
            "bandwagon-profiles",
            log,
            "--system",
            "item-knn",
            "--target",
            "i000007",
            "--users",
            "3%",
            "--json",
        ).stdout
    )
    assert found["targets"] == ["i000007"]
    for side in ("before", "after"):
        assert {"value", "low", "high", "n"} <= set(found["exposure"][side]["t_hr@10"])
    assert 0 < found["spent"]["users"] <= found["budget"]["users"]
    assert (
        "not in the log"
        in oakum("attack", "bandwagon-profiles", log, "--system", "ease", "--target", "zzz", code=2).stderr
    )


def test_systems_and_find_and_show() -> None:
    found = json.loads(oakum("systems", "--json").stdout)
    assert {"slug", "title", "kind", "task", "needs", "code", "claims"} == set(found[0])
    assert "lightgcn" in oakum("find", "2002.02126").stdout
    assert "num_layers" in oakum("show", "lightgcn").stdout


def test_claims_have_the_promised_form() -> None:
    found = json.loads(oakum("claims", "lightgcn", "--quick", "--json").stdout)
    assert found["slug"] == "lightgcn"
    assert {"id", "text", "expected", "measured", "holds", "why", "seconds"} == set(found["claims"][0])
    assert all(c["holds"] for c in found["claims"])


def test_split_data_and_convert(log: Path, tmp_path: Path) -> None:
    found = json.loads(oakum("split", log, "--out", tmp_path / "parts", "--json").stdout)
    assert found["rule"] == "time"
    assert sum(found["events"].values()) == len(pl.read_csv(log))
    assert json.loads(oakum("data", "describe", log, "--json").stdout)["events"] == len(pl.read_csv(log))
    oakum("data", "convert", log, tmp_path / "log.parquet")
    assert len(pl.read_parquet(tmp_path / "log.parquet")) == len(pl.read_csv(log))
    assert "fine" in oakum("data", "check", log).stdout
    oakum("doctor")


def test_tuning_starts_from_the_default_and_never_ends_below(log: Path) -> None:
    found = json.loads(oakum("tune", "item-knn", log, "--trials", 3, "--json").stdout)
    assert found["value"] >= found["history"][0]["value"]


BAD = {
    "a missing column": ("user_id,rating,timestamp\n1,2,3\n3,4,5\n", "item"),
    "an empty file": ("", "empty"),
    "no rows": ("user_id,item_id\n", "no rows"),
    "a wrong delimiter": ("user_id#item_id\n1#2\n", ""),
    "text in a number column": ("user_id,item_id,rating\n1,2,3\n2,3,good\n", "good"),
    "a null id": ("user_id,item_id\n1,2\n,3\n2,2\n", "user_id"),
    "one user only": ("user_id,item_id\n1,2\n1,3\n", "one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_logs_are_one_sentence_and_exit_2(name: str, tmp_path: Path) -> None:
    content, word = BAD[name]
    (tmp_path / "log.csv").write_text(content)
    for command in (
        ("data", "check", tmp_path / "log.csv"),
        ("fit", "ease", tmp_path / "log.csv", "--out", tmp_path / "m"),
    ):
        found = oakum(*command, code=2)
        assert word in found.stderr
        assert "log.csv" in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv"]


def test_rows_without_an_id_are_refused_or_dropped_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating\n1,a,5\n,b,4\n2,b,3\n2,a,good\n")
    found = oakum("data", "describe", path, code=2)
    assert "row 2" in found.stderr
    assert "--on-bad drop" in found.stderr
    found = oakum("data", "describe", path, "--on-bad", "drop", "--json")
    assert json.loads(found.stdout)["events"] == 2
    assert "Left out 2 of 4 rows" in found.stderr
    assert "'refuse' or 'drop'" in oakum("data", "describe", path, "--on-bad", "fill", code=2).stderr


def test_duplicate_rows_are_said_and_merged(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "1,2\n" * 3 + "2,3\n2,2\n3,2\n")
    assert "repeat" in oakum("data", "describe", tmp_path / "log.csv").stderr.lower()


def test_an_endless_header_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "log.csv").open("wb") as file:
        file.truncate(3 << 30)  # a sparse file: three gigabytes of one line
    began = time.perf_counter()
    found = oakum("data", "check", tmp_path / "log.csv", code=2)
    assert time.perf_counter() - began < 10
    assert "log.csv" in found.stderr


def test_a_truncated_parquet_is_refused(log: Path, tmp_path: Path) -> None:
    pl.read_csv(log).write_parquet(tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(content[: len(content) // 2])
    assert "Parquet" in oakum("data", "check", tmp_path / "log.parquet", code=2).stderr


def test_a_model_with_a_changed_byte_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert "changed after it was saved" in oakum("recommend", tmp_path / "m", "--history", "i000001", code=2).stderr


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs file-size limits of POSIX")
def test_a_full_disk_leaves_nothing_half_written(log: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); from oakum.cli import main; main()"
    )
    arguments = ["fit", "ease", str(log), "--out", str(tmp_path / "m")]
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode in (2, 3)
    assert "Traceback" not in found.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_an_interrupted_fit_resumes_to_the_same_model(log: Path, tmp_path: Path) -> None:
    arguments = ["--set", "epochs=60", "--set", "batch_size=64", "--set", "embedding_dim=8", "--seed", "2"]
    oakum("fit", "bpr-mf", log, "--out", tmp_path / "straight", *arguments)
    process = subprocess.Popen(
        [*RUN, "fit", "bpr-mf", str(log), "--out", str(tmp_path / "stopped"), *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    state = tmp_path / ".stopped.resume" / "checkpoint.safetensors"
    limit = time.monotonic() + 60
    while not state.exists() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode != 0:  # a very fast machine may have finished before the signal came
        assert process.returncode == 130
        assert "same command again" in said
        assert not (tmp_path / "stopped").exists()
    oakum("fit", "bpr-mf", log, "--out", tmp_path / "stopped", *arguments)
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("straight", "stopped"))
    assert a == b
    assert not state.exists()


def test_techniques_are_recommended_exported_and_refused_by_name(tmp_path: Path) -> None:
    reports = [{"id": i, "mitre_techniques": {f"T{1000 + (i * j) % 9}": 1 for j in range(1, 5)}} for i in range(1, 30)]
    source = tmp_path / "reports.json"
    source.write_text(json.dumps({"reports": reports}))
    oakum("fit", "tie", source, "--out", tmp_path / "m")
    found = json.loads(oakum("recommend", tmp_path / "m", "--history", "T1001,T1002", "--json").stdout)
    assert len(found[0]["items"]) >= 5
    assert "T7777" in oakum("recommend", tmp_path / "m", "--history", "T1001,T7777", code=2).stderr
    assert "vectors of 29 users" in oakum("export", tmp_path / "m", "--out", tmp_path / "v.safetensors").stdout
