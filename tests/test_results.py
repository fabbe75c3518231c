"""Recorded results belong to the documents as they stand."""

from pathlib import Path

import pytest

from scalesearch import documents, load

RESULTS = Path(__file__).parent.parent / "studies/results"


@pytest.mark.parametrize("name", ["accuracy_check"])
def test_a_recorded_study_is_what_its_documents_would_run(name):
    from dataclasses import asdict

    stored = documents.read(RESULTS / name / "study.yaml")
    study = documents.load_study(name)
    assert stored["space"] == documents.plain(documents.load_space(study.space))
    assert stored["recipe"] == documents.plain(asdict(documents.load_recipe(study.recipe)))
    assert tuple(stored["study"]["rungs"]) == study.rungs


def test_the_accuracy_check_trained_the_proxy_that_the_recipe_makes_of_b0():
    policy = documents.load_recipe("proxy").proxy
    space = documents.load_space("efficientnet_b0")
    candidate = space.draw(lambda name, _domain: pytest.fail(f"{name} is free"))
    proxy = candidate.proxy(policy, policy.flops, 10, 32)
    assert load(RESULTS / "accuracy_check/proxy.yaml") == proxy.network
    assert 0.97 <= proxy.share <= 1
