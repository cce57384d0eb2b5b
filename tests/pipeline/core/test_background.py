"""A thread beside its owner: order, bounds, and errors that reach the owner."""

import threading
import time

import pytest

from pipeline.core.background import WorkThread


def test_pieces_are_done_in_order_in_one_other_thread_and_all_of_them() -> None:
    seen: list[tuple[int, int]] = []
    with WorkThread("test", waiting=2) as thread:
        for number in range(20):
            thread.do(lambda number=number: seen.append((number, threading.get_ident())))
    assert [number for number, _ in seen] == list(range(20))
    assert {thread_id for _, thread_id in seen} != {threading.get_ident()}
    assert len({thread_id for _, thread_id in seen}) == 1


def test_no_more_wait_than_may() -> None:
    go = threading.Event()
    asked: list[int] = []

    def ask(thread: WorkThread) -> None:
        for number in range(10):
            thread.do(go.wait)
            asked.append(number)

    with WorkThread("test", waiting=2) as thread:
        asker = threading.Thread(target=ask, args=(thread,))
        asker.start()
        time.sleep(0.3)
        assert len(asked) == 3  # one under way, two waiting
        go.set()
        asker.join()
    assert len(asked) == 10
    assert thread.blocked_s > 0.2


def test_an_error_reaches_the_owner_with_the_next_piece_and_nothing_after_it_is_done() -> None:
    done: list[str] = []

    def fail() -> None:
        time.sleep(0.3)
        raise OSError("no space left")

    def ask_on(thread: WorkThread) -> None:
        thread.do(fail)
        for _ in range(100):  # more than may wait when it fails: that must not block for ever
            thread.do(done.append, "later")

    with pytest.raises(OSError, match="no space left"), WorkThread("test", waiting=2) as thread:
        ask_on(thread)
    assert done == []


def test_an_error_of_the_last_piece_is_raised_where_the_block_ends() -> None:
    with pytest.raises(ZeroDivisionError), WorkThread("test", waiting=8) as thread:
        thread.do(lambda: 1 // 0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_a_block_that_breaks_waits_for_the_piece_under_way_and_drops_the_rest(kind: type[BaseException]) -> None:
    done: list[str] = []
    started = threading.Event()

    def slow() -> None:
        started.set()
        time.sleep(0.3)
        done.append("under way")

    def break_off(thread: WorkThread) -> None:
        thread.do(slow)
        thread.do(done.append, "waiting")
        started.wait()
        raise kind

    with pytest.raises(kind), WorkThread("test", waiting=8) as thread:
        break_off(thread)
    assert done == ["under way"]
