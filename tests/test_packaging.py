"""What the files around the package say of it agrees: pinned versions, workflows, the wheel's files."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _pins(text):
    return dict(re.findall(r"([\w.-]+)==([\w.]+)", text))


def test_pre_commit_checks_with_the_tested_versions():
    tested = _pins((ROOT / "constraints.txt").read_text())
    pinned = _pins((ROOT / ".pre-commit-config.yaml").read_text())
    assert {"ruff", "mypy", "numpy"} <= pinned.keys()
    assert pinned == {name: tested[name] for name in pinned}


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.name)
def test_workflows_run_targets_that_there_are(workflow):
    yaml = pytest.importorskip("yaml")
    targets = set(re.findall(r"^([\w-]+)(?:%)?:", (ROOT / "Makefile").read_text(), re.M))
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    assert jobs
    for name, job in jobs.items():
        assert job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), name
            for target in re.findall(r"\bmake ([\w-]+)", step.get("run", "")):
                assert target in targets or target.startswith(("test-only-", "wheel-test-")), target
