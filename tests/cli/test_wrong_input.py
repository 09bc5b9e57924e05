"""Every kind of wrong input: one short message, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Cli = Callable[..., Any]
GAN = (Path(__file__).parents[1] / "toy_gan.py").read_text()  # a plug-in that works


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files to name: suites, recipes, plug-ins and data that are missing something."""
    texts = {
        "key.yaml": "variant: fm", "type.yaml": "steps: many", "list.yaml": "- fm", "broken.yaml": "variants: [fm",
        "empty.yaml": "", "python.yaml": "variants: !!python/object/apply:os.mkdir [made]", "text.yaml": "fm",
        "recipe.yaml": "fm: {rate: 1}", "range.yaml": "fm: {lr: 3}", "other.yaml": "triple: {lr: 0.1}",
        "double.yaml": "fm: {lr: 0.1, lr: 0.2}", "alias.yaml": "fm: &a {lr: *a}",
        "leaves.py": "import sys; sys.exit(3)",
        "phases.py": GAN.replace("-> tuple[Phase, ...]:", "-> tuple[Phase, ...]:\n        1 / 0"),
        "loss.py": GAN.replace("progress: Tensor) -> Any:", "progress: Tensor) -> Any:\n        1 / 0"),
        "raises.py": "1 / 0", "nothing.py": "x = 1", "syntax.py": "def", "index.txt": "3\nfour\n", "file": "",
        "twice.txt": "3\n3\n",
        "pieces.yaml": "pieces: true", "far.txt": "99999\n", "data/MNIST/raw/train-images-idx3-ubyte": "not MNIST",
    }  # fmt: skip
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    np.savez(tmp_path / "unfit.npz", x_train=np.zeros((3, 2)))
    return tmp_path


RUN: dict[str, tuple[str, str]] = {
    # what is wrong: (arguments of `bench run`, a part of the message)
    "unknown variant": ("--variants fmm", "unknown variant 'fmm'. Did you mean 'fm'"),
    "one of several unknown": ("--variants fm,tripel", "Did you mean 'triple'"),
    "empty list of variants": ("--variants ,", "--variants"),
    "unknown dataset": ("--dataset digit", "unknown dataset 'digit'. Did you mean 'digits'"),
    "dataset without a path": ("--dataset npz:", "unknown dataset 'npz:'"),
    "unknown option": ("--label 20", "--labels"),
    "option without a value": ("--labels", "--labels"),
    "argument that is none": ("fm", "fm"),
    "unknown recipe field": ("--set fm.rl=1", "unknown recipe field of fm 'rl'. Did you mean 'lr'"),
    "recipe value of a wrong type": ("--set fm.lr=fast", "fm.lr=fast"),
    "recipe value out of range": ("--set fm.lr=2", "fm.lr=2"),
    "recipe width out of range": ("--set fm.classifier=[0]", "fm.classifier=0"),
    "recipe without a length": ("--set fm.steps=null", "steps"),
    "setting of an absent variant": ("--variants fm --set triple.lr=1", "unknown variant in --set 'triple'"),
    "malformed setting": ("--set lr=1", "--set: 'lr=1' is malformed"),
    "budget too large": ("--labels 1298", "1298"),
    "budget 0": ("--labels 0", "--labels"),
    "unknown precision": ("--precision tf23", "unknown precision in --precision 'tf23'. Did you mean 'tf32'"),
    "precision of a GPU on a CPU": ("--precision tf32 --device cpu", "--precision tf32: a CPU computes in fp32"),
    "precision on an unknown device": ("--precision bf16 --cluster local:1", "--precision bf16 with --cluster: say"),
    "a limit on pieces elsewhere": (
        "--suite pieces.yaml --cluster local:1 --time-limit 9m",
        "--time-limit with --cluster",
    ),
    "negative budget": ("--labels -5", "--labels"),
    "percentage above 100": ("--labels 200%", "200%"),
    "budget that is no number": ("--labels many", "'many' is no label budget"),
    "empty budget": ("--labels 20,,50", "--labels"),
    "no budget": ("--labels=", "--labels"),
    "unknown selection": ("--label-selection ballanced", "Did you mean 'balanced'"),
    "index file with text": ("--label-selection index.txt", "index.txt"),
    "index file with a double entry": ("--label-selection twice.txt", "twice.txt"),
    "index file beyond the data": ("--label-selection far.txt --labels 1", "far.txt"),
    "seeds 0": ("--seeds 0", "--seeds 0: a count must be at least 1"),
    "seeds backwards": ("--seeds 5-3", "'5-3' runs backwards"),
    "negative seed": ("--seeds -1", "--seeds"),
    "seeds that are no number": ("--seeds ten", "'ten' is no seed"),
    "empty seed": ("--seeds 1,", "--seeds"),
    "unknown protocol": ("--protocol papers", "Did you mean 'paper'"),
    "protocol without a recipe": ("--protocol paper --dataset two-circles", "no 'paper' recipe"),
    "steps 0": ("--steps 0", "--steps 0"),
    "negative steps": ("--steps -3", "--steps -3"),
    "steps that are no number": ("--steps many", "--steps"),
    "fractional steps": ("--steps 1.5", "--steps"),
    "scale 0": ("--scale 0", "--scale 0"),
    "negative scale": ("--scale -1", "--scale -1"),
    "scale that is no number": ("--scale nan", "--scale nan"),
    "steps and scale": ("--steps 5 --scale 0.5", "exclude each other"),
    "smoke that is long": ("--protocol smoke --steps 1000", "at most 20 steps"),
    "jobs 0": ("--jobs 0", "--jobs 0"),
    "negative jobs": ("--jobs -1", "--jobs -1"),
    "cohort 0": ("--cohort 0", "--cohort '0'"),
    "negative cohort": ("--cohort -1", "--cohort"),
    "cohort that is no number": ("--cohort big", "--cohort 'big'"),
    "validation too large": ("--validation 1290", "--validation 1290"),
    "negative validation": ("--validation -1", "--validation"),
    "unlabelled too large": ("--unlabelled 5000", "--unlabelled 5000"),
    "negative unlabelled": ("--unlabelled -1", "--unlabelled"),
    "unknown device": ("--device gpu", "--device 'gpu'"),
    "image size without a folder": ("--image-size 8", "--image-size"),
    "missing plug-in": ("--plugin absent.py", "absent.py"),
    "plug-in that is no Python": ("--plugin key.yaml", "key.yaml"),
    "plug-in that raises": ("--plugin raises.py", "ZeroDivisionError"),
    "plug-in that is no program": ("--plugin syntax.py", "SyntaxError"),
    "plug-in without a variant": ("--plugin nothing.py", "defines no variant"),
    "unknown suite": ("--suite digit", "unknown suite 'digit'. Did you mean 'digits'"),
    "missing suite file": ("--suite absent.yaml", "absent.yaml"),
    "unknown suite key": ("--suite key.yaml", "unknown key of suite key.yaml 'variant'. Did you mean 'variants'"),
    "suite value of a wrong type": ("--suite type.yaml", "steps must be a number"),
    "suite that is a list": ("--suite list.yaml", "mapping"),
    "suite that is a text": ("--suite text.yaml", "mapping"),
    "suite that is empty": ("--suite empty.yaml", "mapping"),
    "suite that is broken": ("--suite broken.yaml", "broken.yaml"),
    "suite that makes Python objects": ("--suite python.yaml", "python.yaml"),
    "missing recipe file": ("--recipe absent.yaml", "absent.yaml"),
    "recipe file that is a folder": ("--recipe data", "data"),
    "recipe file that is broken": ("--recipe broken.yaml", "broken.yaml"),
    "recipe file that is a list": ("--recipe list.yaml", "mapping"),
    "recipe file that makes Python objects": ("--recipe python.yaml", "python.yaml"),
    "recipe file with an unknown field": ("--recipe recipe.yaml", "unknown recipe field of fm 'rate'"),
    "recipe file out of range": ("--recipe range.yaml", "--recipe range.yaml: fm.lr=3"),
    "recipe file with a field given twice": ("--recipe double.yaml", "'lr' is given twice in line 1"),
    "batch beyond reason": ("--set fm.batch=100000", "less than or equal to 65536"),
    "plug-in whose phases fail": ("--plugin phases.py --variants toy", "'toy' fails: ZeroDivisionError"),
    "empty path of results": ("--results=", "a path is empty"),
    "empty path of a plug-in": ("--plugin=", "a path is empty"),
    "recipe file for an absent variant": ("--variants fm --recipe other.yaml", "unknown variant in --recipe 'triple'"),
    "missing archive": ("--dataset npz:absent.npz", "absent.npz"),
    "unfit archive": ("--dataset npz:unfit.npz", "y_train"),
    "archive that is none": ("--dataset npz:key.yaml", "key.yaml"),
    "missing folder": ("--dataset folder:absent", "absent"),
    "wrong checksum": ("--dataset mnist --data data", "wrong checksum"),
    "variant, before any download": ("--dataset svhn --data data --variants fmm", "Did you mean 'fm'"),
    "steps that are text": ("--steps x", "--steps 'x': it takes a whole number"),
    "scale that is text": ("--scale=much", "--scale 'much': it takes a number"),
    "number without its zero": ("--set fm.lr=.01", "as in JSON: 0.01"),
    "variant in capitals": ("--variants FM", "Did you mean 'fm'"),
    "device with a slip": ("--device cud", "Did you mean 'cuda'"),
    "empty suite": ("--suite=", "unknown suite"),
    "steps beyond reason": ("--steps 99999999999999999999", "from 1 to"),
    "aliases": ("--recipe alias.yaml", "aliases such as"),
    "plug-in that leaves": ("--plugin leaves.py", "SystemExit"),
    "results inside a file": ("--results file/results", "--results: cannot write"),
    "results that are a file": ("--results file", "--results: cannot write"),
    "results with a NUL": ("--results a\0b", "--results"),
}

OTHER: dict[str, tuple[str, str]] = {
    "unknown command": ("rum", "run"),
    "unknown option before a command": ("--jobs 2", "--jobs"),
    "table of nothing": ("table absent", "absent"),
    "table of an empty folder": ("table data", "no runs"),
    "table of one variant of an empty folder": ("table data --variants fm", "no runs"),
    "unknown format": ("table data --format markdwon", "Did you mean 'markdown'"),
    "unknown metric": ("table data --metric acuracy", "Did you mean 'accuracy'"),
    "unknown policy": ("table data --policy lasst", "Did you mean 'last'"),
    "empty list of table variants": ("table data --variants ,", "--variants"),
    "unknown kind of list": ("list variant", "Did you mean 'variants'"),
    "list without a kind": ("list", "variants|datasets|suites|layouts|runs"),
    "list with a needless folder": ("list variants data", "takes no results folder"),
    "list of runs in nothing": ("list runs absent", "absent"),
    "show without an id": ("show", "RUN_ID"),
    "show in nothing": ("show 1f3a --results absent", "absent"),
    "show of an unknown run": ("show 1f3a --results data", "unknown run '1f3a'"),
    "check of an unknown variant": ("check-variant fmm", "Did you mean 'fm'"),
    "check of a missing file": ("check-variant absent.py", "absent.py"),
    "check of a missing module": ("check-variant nowhere.at:All", "nowhere"),
    "check of a missing class": ("check-variant variants.fm:Nothing", "Nothing"),
    "check of something else": ("check-variant json:JSONDecoder", "no variant"),
    "check without a variant": ("check-variant", "NAME|FILE.py|package.module:Class"),
}


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def refuse(bench_cli: Cli, files: Path, words: list[str]) -> str:
    """The message, after the checks that hold for every one."""
    before = contents(files)
    code, out, err = bench_cli(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("error: ") == 1
    assert len(err) <= 1500
    assert "Traceback" not in out + err
    assert out == ""
    assert contents(files) == before
    return err


@pytest.mark.parametrize("name", RUN)
def test_run_refuses(name: str, bench_cli: Cli, files: Path) -> None:
    arguments, part = RUN[name]
    assert part in refuse(bench_cli, files, ["run", *arguments.split()])


@pytest.mark.parametrize("name", OTHER)
def test_other_commands_refuse(name: str, bench_cli: Cli, files: Path) -> None:
    arguments, part = OTHER[name]
    assert part in refuse(bench_cli, files, arguments.split())


@pytest.mark.parametrize("name", ["unknown variant", "budget too large", "wrong checksum"])
def test_a_dry_run_refuses_too(name: str, bench_cli: Cli, files: Path) -> None:
    arguments, part = RUN[name]
    assert part in refuse(bench_cli, files, ["run", *arguments.split(), "--dry-run"])


def test_a_dry_run_refuses_a_loss_that_fails(bench_cli: Cli, files: Path) -> None:
    plugin = str(files / "loss.py")  # absolute: workers of an earlier test are in another folder
    words = f"run --plugin {plugin} --variants toy --labels 20 --seeds 1 --dry-run"
    message = refuse(bench_cli, files, words.split())
    assert "variant 'toy' fails: ZeroDivisionError: division by zero (line " in message
    assert " of loss.py)" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there(bench_cli: Cli, files: Path) -> None:
    assert "no CUDA device" in refuse(bench_cli, files, ["run", "--device", "cuda"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_results_folder_without_permission(bench_cli: Cli, files: Path) -> None:
    (files / "locked").mkdir(mode=0o500)
    assert "Permission denied" in refuse(bench_cli, files, ["run", "--results", "locked/results"])


LONG = "x" * 20_000


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--variants", LONG], ["run", "--dataset", LONG], ["run", "--labels", LONG], ["run", "--seeds", LONG],
        ["run", "--label-selection", LONG], ["run", "--protocol", LONG], ["run", "--suite", LONG],
        ["run", "--set", LONG], ["run", "--set", f"fm.lr={LONG}"], ["run", "--set", f"fm.{LONG}=1"],
        ["run", "--set", f"{LONG}.lr=1"], ["run", "--set", "fm.lr=" + "[" * 50_000], ["run", "--recipe", LONG],
        ["run", "--steps", LONG], ["run", "--scale", LONG], ["run", "--device", LONG], ["run", "--cohort", LONG],
        ["run", "--plugin", LONG], ["run", "--results", LONG], ["run", f"--{LONG}"], ["run", LONG], [LONG],
        ["table", LONG], ["show", LONG], ["list", LONG], ["check-variant", LONG], ["run", "--dataset", f"npz:{LONG}"],
        ["run", "--cohort", "9" * 5000], ["run", "--steps", "9" * 5000], ["run", "--seeds", "9" * 5000],
    ],
    ids=lambda words: " ".join(word[:20] for word in words),
)  # fmt: skip
def test_absurdly_long_input_does_not_flood_the_message(words: list[str], bench_cli: Cli, files: Path) -> None:
    refuse(bench_cli, files, words)


@pytest.mark.parametrize("text", ["fm\n", "[red]fm[/red]", "fm\x00", "ﬀm", "-", "../../etc/passwd", "%s%n", "{0}"])
def test_odd_characters(text: str, bench_cli: Cli, files: Path) -> None:
    for option in ("--variants", "--dataset", "--protocol"):
        if (option, text) != ("--variants", "fm\n"):  # surrounding space is forgiven there
            refuse(bench_cli, files, ["run", option, text])
