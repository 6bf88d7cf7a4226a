import threading

import pytest

from gtp_jax.training.background import Background


def test_the_order_is_that_of_a_loop_that_waits():
    def play(enabled):
        background, done = Background(enabled), []
        background.after(lambda: done.append("before"))
        background.start(lambda: "first", done.append)
        background.after(lambda: done.append("row 1"))
        background.after(lambda: done.append("save 1"))
        background.start(lambda: "second", done.append)
        background.after(lambda: done.append("row 2"))
        background.settle()
        background.after(lambda: done.append("last"))
        background.close()
        return done

    assert play(True) == play(False) == ["before", "first", "row 1", "save 1", "second", "row 2", "last"]


def test_work_runs_beside_and_holds_back_what_comes_after_it():
    background, gate, done = Background(), threading.Event(), []
    background.start(gate.wait, lambda result: done.append("work"))
    background.after(lambda: done.append("row"))
    assert background.busy() and done == []
    gate.set()
    background.settle()
    assert not background.busy() and done == ["work", "row"]
    background.close()


def test_what_waits_is_done_in_the_thread_that_settles():
    background, threads = Background(), []
    background.start(threading.get_ident, threads.append)
    background.after(lambda: threads.append(threading.get_ident()))
    background.settle()
    background.close()
    assert threads[0] != threads[1] == threading.get_ident()


def test_an_error_of_the_work_is_raised_where_it_is_settled():
    background = Background()
    background.start(lambda: 1 / 0, print)
    with pytest.raises(ZeroDivisionError):
        background.settle()
    background.close()
