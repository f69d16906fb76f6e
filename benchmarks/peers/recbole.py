"""RecBole. It reads its own text files, and fits EASE and ItemKNN while it builds them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

DISTRIBUTION = "recbole"
FEW = 50  # test pairs it is given to validate on, since it will not run without any


def imports(case: Any) -> dict[str, Any]:
    """The package as its quick start imports it."""
    with case.timed():
        import recbole.quick_start  # noqa: F401
    return {}


def load(case: Any) -> dict[str, Any]:
    """Its own text format first, then its data set."""
    import pandas as pd

    path = case.folder / case.settings["file"]
    with case.timed():
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        frame.columns = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
        os.makedirs("d/x", exist_ok=True)
        frame.to_csv("d/x/x.inter", sep="\t", index=False)
        wanted = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
        data = _dataset("BPR", load_col=wanted, RATING_FIELD="rating", TIME_FIELD="timestamp")[1]
        matrix = data.inter_matrix("csr")
    return {"users": matrix.shape[0] - 1, "items": matrix.shape[1] - 1}


def popularity(case: Any) -> dict[str, Any]:
    """Pop; it goes through the batches all the same."""
    return _fit(case, "Pop")


def item_knn(case: Any) -> dict[str, Any]:
    """Cosine."""
    return _fit(case, "ItemKNN", k=case.settings["k"])


def ease(case: Any) -> dict[str, Any]:
    """EASE."""
    return _fit(case, "EASE", reg_weight=case.settings["l2"])


def topk(case: Any) -> dict[str, Any]:
    """Its full-sort scoring over given factors: a product, seen items out, torch.topk."""
    import torch

    config, data, parts = _parts(case, "BPR", embedding_size=64)
    model = _model(config, parts)
    for table, given, field in (
        (model.user_embedding, "user_factors", "user_id"), (model.item_embedding, "item_factors", "item_id"),
    ):  # fmt: skip
        codes = torch.from_numpy(_ids(data, field)[1:])
        table.weight.data[1:] = torch.from_numpy(case.array(given))[codes]
    return _rank(case, config, data, model, parts)


def lightgcn(case: Any) -> dict[str, Any]:
    """A few training steps."""
    s = case.settings
    config, _, parts = _parts(
        case, "LightGCN", embedding_size=s["embedding_dim"], n_layers=s["num_layers"], train_batch_size=s["batch_size"],
        reg_weight=s["l2"],
    )  # fmt: skip
    _steps(case, config, parts, s["learning_rate"], s["steps"])
    return {}


def sasrec(case: Any) -> dict[str, Any]:
    """A few training steps with its only sampled loss; every prefix of a history is a padded row of its own."""
    s = case.settings
    user, item = case.array("sequence_users"), case.array("sequence_items")
    _write("x", user, item, np.arange(len(user)))
    config, data = _dataset(
        "SASRec", load_col={"inter": ["user_id", "item_id", "timestamp"]}, TIME_FIELD="timestamp",
        eval_args={"split": {"LS": "test_only"}, "order": "TO", "group_by": "user", "mode": "full"},
        hidden_size=s["embedding_dim"], inner_size=4 * s["embedding_dim"], n_layers=s["num_layers"], n_heads=s["num_heads"],
        MAX_ITEM_LIST_LENGTH=s["max_length"], train_batch_size=512, loss_type="BPR",
        train_neg_sample_args={"distribution": "uniform", "sample_num": 1, "dynamic": False, "candidate_num": 0},
    )  # fmt: skip
    from recbole.data import data_preparation

    _steps(case, config, data_preparation(config, data), s["learning_rate"], 3, whole=True)
    return {"targets": 3 * 512}


def deepfm(case: Any) -> dict[str, Any]:
    """Its trainer for the given epochs, then probabilities of the test rows."""
    import torch
    from recbole.data import data_preparation
    from recbole.utils import get_trainer

    s = case.settings
    names = [f"c{j}" for j in range(case.array("x").shape[1])]
    os.makedirs("d/x", exist_ok=True)
    x, y, test_x, test_y = (case.array(n) for n in ("x", "y", "test_x", "test_y"))
    for part, rows, labels in (("train", x, y), ("valid", test_x[:FEW], test_y[:FEW]), ("test", test_x, test_y)):
        with Path(f"d/x/x.{part}.inter").open("w") as file:
            file.write("\t".join(f"{n}:token" for n in names) + "\tlabel:float\n")
            for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
                file.write("\t".join(map(str, row)) + f"\t{label}\n")
    config, data = _dataset(
        "DeepFM", load_col={"inter": [*names, "label"]}, benchmark_filename=["train", "valid", "test"],
        USER_ID_FIELD="c0", ITEM_ID_FIELD="c1", LABEL_FIELD="label", train_neg_sample_args=None,
        eval_args={"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}, metrics=["AUC"],
        valid_metric="AUC", embedding_size=s["embedding_dim"], mlp_hidden_size=list(s["hidden"]), dropout_prob=0.0,
        learning_rate=s["learning_rate"], train_batch_size=s["batch_size"], eval_batch_size=s["batch_size"], epochs=s["epochs"],
    )  # fmt: skip
    parts = data_preparation(config, data)
    model = _model(config, parts)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    with case.timed():
        trainer.fit(parts[0], valid_data=None, saved=False, show_progress=False)
    model.eval()
    with torch.no_grad():
        rows = [(model.predict(batch[0] if isinstance(batch, tuple) else batch)) for batch in parts[2]]
    return {"chances": torch.cat(rows).numpy()}


def start(case: Any) -> dict[str, Any]:
    """Import, fit on a few rows, recommend."""
    return popularity(case)


def _write(name: str, user: Any, item: Any, when: Any = None) -> None:
    os.makedirs("d/x", exist_ok=True)
    columns = [user.tolist(), item.tolist(), *([] if when is None else [when.tolist()])]
    with Path(f"d/x/{name}.inter").open("w") as file:
        file.write("\t".join(["user_id:token", "item_id:token", "timestamp:float"][: len(columns)]) + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def _dataset(model: str, **settings: Any) -> tuple[Any, Any]:
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.utils import init_seed

    torch.set_num_threads(1)
    usual = {
        "data_path": str(Path("d").resolve()), "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id",
        "show_progress": False, "use_gpu": False, "state": "ERROR", "eval_batch_size": 4_000_000, "seed": 0,
        "checkpoint_dir": str(Path.cwd()), "nproc": 1, "worker": 0,
    }  # fmt: skip
    config = Config(model=model, dataset="x", config_dict={**usual, **settings})
    init_seed(0, True)
    return config, create_dataset(config)


def _parts(case: Any, model: str, **settings: Any) -> tuple[Any, Any, Any]:
    from recbole.data import data_preparation

    test = [case.users, case.users % case.train.shape[1]]  # lists are evaluated elsewhere: who is asked is all it needs
    _write("x.train", *case.pairs())
    _write("x.valid", test[0][:FEW], test[1][:FEW])
    _write("x.test", *test)
    config, data = _dataset(
        model, load_col={"inter": ["user_id", "item_id"]}, benchmark_filename=["train", "valid", "test"],
        eval_args={"order": "RO", "group_by": "user", "mode": "full"}, epochs=1, **settings,
    )  # fmt: skip
    return config, data, data_preparation(config, data)


def _model(config: Any, parts: Any) -> Any:
    from recbole.utils import get_model

    return get_model(config["model"])(config, parts[0].dataset)


def _fit(case: Any, name: str, **settings: Any) -> dict[str, Any]:
    from recbole.utils import get_trainer

    config, data, parts = _parts(case, name, **settings)
    with case.timed():
        model = _model(config, parts)
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        trainer.fit(parts[0], valid_data=None, saved=False, show_progress=False)
    return _rank(case, config, data, model, parts, "rank")


def _rank(case: Any, config: Any, data: Any, model: Any, parts: Any, name: str = "work") -> dict[str, Any]:
    import torch
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.tot_item_num, trainer.item_tensor = data.item_num, parts[2]._dataset.get_item_feature()
    users, lists = [], []
    model.eval()
    with torch.no_grad(), case.timed(name):
        for batch in parts[2]:
            inter, history, *_ = batch
            try:
                scores = model.full_sort_predict(inter).view(-1, data.item_num).detach().clone()
            except NotImplementedError:  # models without a full-sort form are scored pair by pair
                scores = trainer._full_sort_batch_eval(batch)[1].detach().clone()
            scores[:, 0] = -torch.inf
            scores[history] = -torch.inf
            lists.append(scores.topk(20, dim=1).indices.numpy())
            users.append(inter["user_id"].numpy())
    return {
        "lists": _ids(data, "item_id")[np.concatenate(lists)],
        "users": _ids(data, "user_id")[np.concatenate(users)],
    }


def _ids(data: Any, field: str) -> Any:
    return np.array([int(t) if t.isdigit() else -1 for t in data.field2id_token[field]])


def _steps(case: Any, config: Any, parts: Any, learning_rate: float, n: int, whole: bool = False) -> None:
    """One step to warm up, then `n` that are timed, each by itself or as a whole."""
    import torch

    model = _model(config, parts)
    adam = torch.optim.Adam(model.parameters(), learning_rate)
    batches = itertools.cycle(parts[0])

    def step() -> None:
        adam.zero_grad()
        loss = model.calculate_loss(next(batches))
        (torch.stack(loss).sum() if isinstance(loss, tuple) else loss).backward()
        adam.step()

    model.train()
    step()
    if whole:
        with case.timed():
            for _ in range(n):
                step()
        return
    for _ in range(n):
        with case.timed():
            step()
