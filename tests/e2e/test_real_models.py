"""Models of real libraries go in, come out by alias, load, and predict the same."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny_transformer
from tests.support.server import ROOT, Server, running_server

pytestmark = [
    pytest.mark.xdist_group("real_models"),
    # The libraries' own deprecations are not ours to fail on.
    pytest.mark.filterwarnings("default"),
]
Predict = Callable[[Path], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Made:
    """A way to make a model's files in a folder, to predict from them, and what they are."""

    write: Callable[[Path], None]
    predict: Predict
    formats: set[str]


def _data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(3)
    features = random.normal(size=(120, 4)).astype(np.float32)
    return features, (features[:, 0] + features[:, 1] ** 2 > 0.5).astype(int)


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    features, labels = _data()
    return RandomForestClassifier(n_estimators=8, random_state=0).fit(features, labels)


def _write_joblib(folder: Path) -> None:
    import joblib

    joblib.dump(_forest(), folder / "model.joblib", compress=3)


def _predict_joblib(folder: Path) -> np.ndarray[Any, Any]:
    import joblib

    return np.asarray(joblib.load(folder / "model.joblib").predict_proba(_data()[0]))


def _write_skops(folder: Path) -> None:
    import skops.io

    skops.io.dump(_forest(), folder / "model.skops")


def _predict_skops(folder: Path) -> np.ndarray[Any, Any]:
    import skops.io

    trusted = skops.io.get_untrusted_types(file=folder / "model.skops")
    return np.asarray(
        skops.io.load(folder / "model.skops", trusted=trusted).predict_proba(_data()[0])
    )


def _write_onnx(folder: Path) -> None:
    from skl2onnx import to_onnx

    model = to_onnx(_forest(), _data()[0][:1], options={"zipmap": False}, target_opset=17)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _predict_onnx(folder: Path) -> np.ndarray[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return np.asarray(session.run(None, {session.get_inputs()[0].name: _data()[0]})[1])


def _write_xgboost(folder: Path) -> None:
    import xgboost

    features, labels = _data()
    booster = xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(features, labels)
    booster.save_model(folder / "model.json")
    booster.save_model(folder / "model.ubj")


def _predict_xgboost(folder: Path) -> np.ndarray[Any, Any]:
    import xgboost

    answers = []
    for name in ("model.json", "model.ubj"):
        model = xgboost.XGBClassifier()
        model.load_model(folder / name)
        answers.append(model.predict_proba(_data()[0]))
    return np.concatenate(answers)


MADE = {
    "sklearn-joblib": Made(_write_joblib, _predict_joblib, {"joblib+zlib"}),
    "sklearn-skops": Made(_write_skops, _predict_skops, {"skops"}),
    "onnx": Made(_write_onnx, _predict_onnx, {"onnx"}),
    "xgboost": Made(_write_xgboost, _predict_xgboost, {"xgboost-json", "xgboost-ubj"}),
    "transformer": Made(
        lambda folder: tiny_transformer.write_transformer(folder / "encoder"),
        lambda folder: tiny_transformer.predict(folder / "encoder"),
        {"safetensors"},
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry")) as running:
        yield running


def curl(*arguments: str) -> bytes:
    """What curl prints; it fails the test on any status of 400 and above."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", *arguments],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def cli(server: Server, *arguments: str) -> dict[str, Any]:
    """What the admin command line answers, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", *arguments, "--json"],
        env=server.environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Made, Path]:
    (tmp_path / "made").mkdir()
    MADE[request.param].write(tmp_path / "made")
    return request.param, MADE[request.param], tmp_path / "made"


def test_published_with_curl_and_fetched_by_alias_it_predicts_the_same(
    server: Server, made: tuple[str, Made, Path], tmp_path: Path
) -> None:
    name, model, folder = made
    parts = [f"file=@{folder / path};filename={path}" for path in _files(folder)]
    metadata = {"create_model": True, "metrics": {"auc": 0.9}, "aliases": ["champion"]}
    published = json.loads(
        curl(
            *(argument for part in parts for argument in ("-F", part)),
            *("-F", f"metadata={json.dumps(metadata)};type=application/json"),
            f"{server.api}/models/{name}/versions",
        )
    )
    assert [file["path"] for file in published["files"]] == _files(folder)
    assert {file["format"] for file in published["files"]} - {None} == model.formats
    assert published["validation"]["verdict"] == "accept"

    archive = tmp_path / "fetched.zip"
    curl("-o", str(archive), f"{server.api}/models/{name}/versions/@champion/archive")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "fetched")
    np.testing.assert_array_equal(model.predict(tmp_path / "fetched"), model.predict(folder))

    one_by_one = tmp_path / "one by one"
    for path in _files(folder):
        (one_by_one / path).parent.mkdir(parents=True, exist_ok=True)
        url = f"{server.api}/models/{name}/versions/@champion/files/{path}"
        curl("-o", str(one_by_one / path), url)
    np.testing.assert_array_equal(model.predict(one_by_one), model.predict(folder))


def test_published_and_downloaded_on_the_command_line_it_predicts_the_same(
    server: Server, made: tuple[str, Made, Path], tmp_path: Path
) -> None:
    name, model, folder = made
    options = ("--create-model", "--param", "max_depth=2", "--alias", "champion")
    cli(server, "publish", f"{name} by hand", str(folder), *options)
    cli(server, "download", f"{name} by hand@champion", "-o", str(tmp_path / "fetched"))
    np.testing.assert_array_equal(model.predict(tmp_path / "fetched"), model.predict(folder))


def test_after_a_restart_everything_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    tiny_transformer.write_transformer(folder / "encoder")
    with running_server(tmp_path) as first:
        cli(first, "publish", "encoder", str(folder / "encoder"), "--create-model")
        cli(first, "alias", "set", "encoder", "champion", "1")
        before = curl(f"{first.api}/models/encoder/versions/@champion")
    with running_server(tmp_path) as second:
        assert curl(f"{second.api}/models/encoder/versions/@champion") == before
        cli(second, "download", "encoder@champion", "-o", str(tmp_path / "fetched"))
        assert cli(second, "verify")["corrupt"] == []
    fetched = next((tmp_path / "fetched").rglob("config.json")).parent
    np.testing.assert_array_equal(
        tiny_transformer.predict(fetched), tiny_transformer.predict(folder / "encoder")
    )
