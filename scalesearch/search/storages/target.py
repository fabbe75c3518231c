"""The study in a storage: opened under its lock, counted, written to."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session

from scalesearch.errors import InputError
from scalesearch.search.objectives import measured
from scalesearch.search.records import TrialRecord
from scalesearch.search.storages.address import Address
from scalesearch.search.storages.locks import AwayError, Lock, lock_of
from scalesearch.search.storages.trials import frozen, mark, open_study
from scalesearch.search.study import Definition

READERS = 60.0  # seconds that another program's reading of a SQLite file is waited for


class _Storage(RDBStorage):
    """Optuna's storage for a writer that is alone, and whose leaves keep their domains.

    Optuna asks a server three things for each value of a trial: whether the trial may be written to, which
    domain the leaf had before, and to take the value. What a trial takes is the time of these 140 ways there
    and back. Here the domain is asked for once for each leaf, and the values go together.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._domains: dict[str, BaseDistribution] = {}

    def _set_trial_param_without_commit(
        self,
        session: Session,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,
    ) -> None:
        known = self._domains.get(param_name, previous_distribution)
        value = param_value_internal, distribution
        with session.no_autoflush:  # all values of a trial go in one statement
            super()._set_trial_param_without_commit(session, trial_id, param_name, *value, known)
        self._domains[param_name] = distribution


class Target:
    """The study in the storage, which the holder of its lock alone writes to.

    What stands there are the record's first so many trials, in its order, so the count says what is missing.
    """

    def __init__(self, address: Address, name: str, definition: Definition) -> None:
        self.address, self.name, self.definition = address, name, definition
        self._lock: Lock = lock_of(address, name)
        self._storage: RDBStorage | None = None
        self._study = -1
        self._broken = False

    def open(self, record: Sequence[TrialRecord]) -> int:
        """Take the lock, create what is missing, and return how many of the record's trials stand there.

        Raises InputError where the study's trials are not the record's, RunHeldError where it is held.
        """
        self._lock.hold()
        self._broken = False
        if self._storage is None:
            self._storage = self._opened()
        return self._count(self._storage, record)

    def write(self, t: TrialRecord) -> None:
        """Write a trial, in one transaction."""
        assert self._storage is not None, "a study is opened before it is written to"
        self._lock.hold()
        values = measured(self.definition.study.objectives, t, self.definition.budget)
        trial = frozen(self.definition.space, t, values)
        self._storage.create_new_trial(self._study, template_trial=trial)

    def close(self) -> None:
        """Give everything back."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
        self._lock.release()

    def _opened(self) -> RDBStorage:
        # Optuna fills in {...}; and tables that several processes create at once fail in all but one.
        bare = self.address.bare.replace("{", "{{").replace("}", "}}")
        with self._lock.creating():
            storage = _Storage(bare, engine_kwargs=_settings(self.address))
        event.listen(storage.engine, "handle_error", self._note)
        event.listen(storage.engine, "do_connect", self._refuse)
        open_study(storage, self.name, self.definition.study.objectives)
        self._study = storage.get_study_id_from_name(self.name)
        return storage

    # Optuna tries again what a lost connection cut off, although it may have been written: nobody has heard.
    # So no new connection is made until the trials are counted again.

    def _note(self, context: ExceptionContext) -> None:
        self._broken |= context.is_disconnect and not context.is_pre_ping

    def _refuse(self, *_about: object) -> None:
        if self._broken:
            raise AwayError("the connection was lost")

    def _count(self, storage: RDBStorage, record: Sequence[TrialRecord]) -> int:
        """Return how many trials the study has: a few look-ups, where loading them all takes seconds."""

        def missing(number: int) -> bool:
            return self._at(storage, number) is None

        count = bisect_left(range(len(record) + 1), x=True, key=missing)
        last = self._at(storage, count - 1)
        if count > len(record) or (last is not None and _marks(storage, last) != mark(record[count - 1])):
            raise InputError(
                f"--storage: the study {self.name} in {self.address.shown} holds trials that are not in "
                "this run folder; another storage, or its deletion there, makes room"
            )
        return count

    def _at(self, storage: RDBStorage, number: int) -> int | None:
        """Return Optuna's key of a trial, or None where the study has none of this number."""
        try:
            return storage.get_trial_id_from_study_id_trial_number(self._study, number)
        except KeyError:
            return None


def _settings(address: Address) -> dict[str, Any]:
    """Return how SQLAlchemy connects; URLs that it is given hold nothing that it might show."""
    if address.file is None:
        return {"connect_args": address.arguments, "pool_pre_ping": True}
    return {"creator": partial(_open_file, address.file)}


def _open_file(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=READERS, check_same_thread=False)
    # One wait for the disk now and then, not two a trial; a power cut may take the last trials, which the
    # record holds, and leaves the file whole.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _marks(storage: RDBStorage, trial: int) -> dict[str, object]:
    found = storage.get_trial(trial).user_attrs
    return {"trial": found.get("trial"), "ended": found.get("ended")}
