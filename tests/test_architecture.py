"""The shape of the package, held by its own syntax trees."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from oakum.catalogue import entries, load_class
from oakum.parameters import Parameters, Spec, fields

SRC = Path(__file__).resolve().parents[1] / "src" / "oakum"
FILES = sorted(SRC.rglob("*.py"))
TREES = {f: ast.parse(f.read_text(encoding="utf-8")) for f in FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(SRC))


def imports(tree: ast.AST, *, top: bool = False) -> set[str]:
    """Modules that a file imports; `top`: only at its top level, outside TYPE_CHECKING."""
    nodes = list(ast.walk(tree)) if not top else list(tree.body)  # type: ignore[attr-defined]
    out = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out.add(node.module)
            out |= {f"{node.module}.{a.name}" for a in node.names}
    return out


def test_one_backward_pass_and_no_optimiser_outside_the_engine() -> None:
    calls, optimisers = [], []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                calls.append(name_of(path))
            if isinstance(node, ast.Attribute) and node.attr == "optim":
                optimisers.append(name_of(path))
    assert calls == ["engine/steps.py"]
    assert {o.split("/")[0] for o in optimisers} <= {"engine"}


def test_nothing_that_executes_can_be_read() -> None:
    forbidden = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "yaml"}
    for path, tree in TREES.items():
        assert not {i.split(".")[0] for i in imports(tree)} & forbidden, name_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load", "torch.save", "compile"), (
                    f"{name_of(path)}: {called}"
                )
                if called in ("np.load", "numpy.load"):
                    assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)


LAYERS = [
    {"errors", "parameters", "seeds", "catalogue", "files", "__init__", "py"},
    {"data", "needs"},
    {"splits", "kernels", "nn", "losses", "metrics", "sampling", "backends", "index"},
    {"engine", "recommending"},
    {"models", "plugins", "store", "evaluation", "api", "tuning"},
    {"attacks", "defences"},
    {"audits", "claims", "quarantine", "bench", "state", "release", "forgetting"},
    {"report", "serve", "client"},
    {"cli", "__main__"},
]


def layer_of(part: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(SRC).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in imports(TREES[path], top=True):
        if module.startswith("oakum.") and module != "oakum.__version__":
            other = module.split(".")[1]
            if any(other in names for names in LAYERS):
                # Sampling and the networks speak the engine's types; both live below the models.
                assert layer_of(other) <= layer_of(own), f"{name_of(path)} imports {module}"


def test_models_import_no_other_system_but_those_they_extend() -> None:
    by_module = {e.code.split(":")[0]: e for e in entries().values() if e.kind in ("model", "plugin")}
    for module, entry in by_module.items():
        path = SRC / (module.removeprefix("oakum.").replace(".", "/") + ".py")
        for used in imports(TREES[path]):
            if used in by_module and used != module:
                allowed = {
                    entries()[s].code.split(":")[0]
                    for e in entries().values()
                    if e.code.startswith(module)
                    for s in e.extends
                }
                assert used in allowed, f"{entry.slug} imports {used}"


def test_plugins_name_no_model() -> None:
    slugs = {e.code.split(":")[1] for e in entries().values() if e.kind == "model"}
    for path in (SRC / "plugins").glob("*.py"):
        names = {n.id for n in ast.walk(TREES[path]) if isinstance(n, ast.Name)}
        assert not names & slugs, name_of(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_readable(path: Path) -> None:
    systems = {
        SRC / (e.code.split(":")[0].removeprefix("oakum.").replace(".", "/") + ".py") for e in entries().values()
    }
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (300 if path in systems else 400), f"{lines} lines"


def test_the_hooks_are_frozen() -> None:
    from oakum.engine.learner import Learner, Plugin

    own = lambda cls: sorted(n for n, v in vars(cls).items() if inspect.isfunction(v) and not n.startswith("_"))
    assert own(Learner) == [
        "batches", "cached", "data", "epoch", "losses", "phases", "prepare", "put_facts", "represent", "resize", "rows", "settle", "start", "train",
    ]  # fmt: skip
    assert own(Plugin) == ["batch", "loss", "phases", "reps"]


def test_the_catalogue_and_the_code_agree() -> None:
    listed = {e.code for e in entries().values()}
    assert len(listed) == len(entries())
    kinds = {
        "model": "models",
        "plugin": "plugins",
        "attack": "attacks",
        "defence": "defences",
        "audit": "audits",
    }
    found = set()
    for slug, entry in entries().items():
        cls = load_class(slug)
        assert cls.slug == slug
        assert issubclass(cls, Parameters)
        assert entry.code.split(":")[0].split(".")[1] == kinds[entry.kind]
        found.add(cls)
    import importlib

    for path in FILES:
        part = path.relative_to(SRC).parts[0]
        if part in kinds.values() and path.name != "__init__.py":
            module = importlib.import_module("oakum." + name_of(path).removesuffix(".py").replace("/", "."))
            for cls in vars(module).values():
                own = isinstance(cls, type) and issubclass(cls, Parameters) and cls.__module__ == module.__name__
                if own and cls.__dict__.get("slug") and cls.slug != "training":
                    assert cls in found, f"{cls.__name__} has no entry in the catalogue"


def test_systems_have_few_settings_and_no_name_twice() -> None:
    from oakum.engine.plan import Plan

    of_plan = {f.name for f in fields(Plan)}
    for slug, entry in entries().items():
        cls = load_class(slug)
        assert len(fields(cls)) <= 15, slug
        assert all(f.doc for f in fields(cls) if f.name != "plugin"), slug
        if entry.kind == "model" and issubclass(cls, Spec) and hasattr(cls, "plan"):
            assert not {f.name for f in fields(cls)} & of_plan, slug


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_oakum_loads_nothing_heavy() -> None:
    heavy = ["torch", "polars", "numba", "numpy", "scipy", "matplotlib", "pandas", "rich", "jinja2"]
    code = f"import sys, oakum; import oakum.cli.app as a; a.help_text(); print([m for m in {heavy!r} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_what_is_imported_waits_for_what_needs_it(tmp_path: Path) -> None:
    code = f"""
import sys
import oakum
oakum.fit
print([m for m in ("torch", "polars", "numba", "scipy") if m in sys.modules])
import polars as pl
data = oakum.read(pl.DataFrame({{"user_id": [1, 1, 2, 2, 3], "item_id": [1, 2, 2, 3, 3]}}))
oakum.save(oakum.fit("popularity", data), {str(tmp_path / "saved")!r})
print(len(oakum.load({str(tmp_path / "saved")!r}).recommend([1, 2])), [m for m in ("torch", "numba", "scipy") if m in sys.modules])
"""
    assert run_python(code).splitlines() == ["[]", "2 []"]


def test_closed_forms_and_audits_of_them_need_no_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from oakum.api import fit
from oakum.data.simulate import Market, simulate
from oakum.splits import split
from oakum.evaluation import evaluate
parts = split(simulate(Market(users=60, items=50, events=1500)))
print(round(evaluate(fit("ease", parts), parts).metrics["recall@20"].value, 1) > 0)
try:
    fit("bpr-mf", parts)
except ImportError as error:
    print(error)
"""
    found = run_python(code).splitlines()
    assert found[0] == "True"
    assert "oakum[torch]" in found[1]


def test_import_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import oakum; print(time.perf_counter() - t)"
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def test_public_names_are_sorted_and_there() -> None:
    import oakum

    assert oakum.__all__ == sorted(oakum.__all__)
    for name in oakum.__all__:
        assert callable(getattr(oakum, name)), name
    assert {
        "read",
        "split",
        "fit",
        "evaluate",
        "attack",
        "defend",
        "audit",
        "save",
        "load",
        "systems",
    } == set(oakum.__all__)


def test_dependencies_have_a_reason() -> None:
    text = (SRC.parents[1] / "pyproject.toml").read_text()
    listed = tomllib.loads(text)["project"]["dependencies"]
    for name in listed:
        line = next(row for row in text.splitlines() if f'"{name}"' in row)
        assert "#" in line, f"{name} has no reason beside it"


def test_every_extra_that_is_named_can_be_installed() -> None:
    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = set(project["optional-dependencies"])
    named = {e.extra for e in entries().values() if e.extra}
    for path in FILES:
        named |= set(re.findall(r'MissingExtra\(.*, "([a-z]+)"\)', path.read_text(encoding="utf-8")))
    assert "text" in named
    assert named <= known
