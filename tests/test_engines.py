"""The engine of one machine keeps what every engine promises; Ray's own file runs the same suite."""

import pytest
from engines import EngineConformance

from scalesearch.search.engines.local import LocalEngine


class TestLocalEngine(EngineConformance):
    @pytest.fixture
    def engine(self):
        return lambda make_evaluate, workers, **options: LocalEngine(workers, make_evaluate, **options)
