"""The process that pushed a value reads the very same object, whatever its type, and keeps no object needlessly."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb, lines, only

oldest_and_newest = only(lambda version: version < (2,) or version >= (3, 28))  # this does not depend on the release


@pytest.mark.promise(number=7)
@oldest_and_newest
@pytest.mark.parametrize("big", ["'x' * 1000", "b'x' * 1000", "10 ** 1000"])
def test_a_plain_value_above_the_limit_reaches_the_next_task(zrb: Zrb, big: str) -> None:
    zrb.tasks(
        f"""
        BIG = {big}
        make = Task(name="make", retries=0, action=lambda ctx: ctx.xcom["also"].extend([BIG, 1]) or BIG)

        @make_task(name="main", upstream=make, retries=1, group=cli)
        def main(ctx):
            ctx.xcom["also"].rotate()
            found = [ctx.xcom["make"].peek(), ctx.xcom["make"].pop()]
            found += [ctx.xcom["also"].popright(), ctx.xcom["also"].pop()]
            if not ran("main"):
                raise ValueError  # the next attempt finds the very object again
            return [one is BIG for one in found]
        """
    )
    done = zrb.run("main", ZRB_STORE_MAX_VALUE="500")
    assert done.out.strip() == "[True, True, True, False]"
    (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    assert "task make: " in line
    assert not zrb.stored().attempts[0].restorable


@oldest_and_newest
def test_a_value_that_is_not_equal_to_itself_is_found(zrb: Zrb) -> None:
    zrb.tasks(
        """
        NAN = float("nan")

        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            queue = ctx.xcom["numbers"]
            queue.extend([1.5, NAN])
            found = [NAN in queue, queue.index(NAN), queue.count(NAN)]
            queue.remove(NAN)
            return [*found, list(queue)]
        """
    )
    assert zrb.run("main").out.strip() == "[True, 1, 1, [1.5]]"


@pytest.mark.promise(number=7)
@oldest_and_newest
def test_ordinary_values_are_not_kept_in_memory(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            queue = ctx.xcom["todo"]
            for number in range(300):
                queue.extend([number, str(number), b"x", 1.5, None, True])
            plain = len(queue.memory.objects)
            for number in range(300):
                queue.push([number])
                queue.popright()
            return [plain, len(queue)]
        """
    )
    assert zrb.run("main").out.strip() == "[0, 1800]"


@oldest_and_newest
def test_what_a_step_took_comes_back_as_the_very_object(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import threading
        from zrb_store import open_store, step

        LOCKS = [threading.Lock() for _ in range(3)]
        feed = Task(name="feed", retries=0, action=lambda ctx: ctx.xcom["locks"].extend(LOCKS))

        def take(ctx, fails=False):
            found = LOCKS.index(ctx.xcom["locks"].pop())
            if fails:
                raise ValueError
            return found

        @make_task(name="main", upstream=feed, retries=1, retry_period=0)
        def main(ctx):
            first = not ran("main")
            if first:
                try:
                    step("take", take, ctx, True)
                except ValueError:
                    pass
            found = [step("one", take, ctx)]
            if first:
                with open_store() as store:
                    store.session("inbox").xcom["files"].pop()
            found.append(step("two", take, ctx))  # it comes back with the file
            if first:
                raise ValueError
            return [*found, take(ctx)]

        @make_task(name="last", upstream=main, retries=0, group=cli)
        def last(ctx):
            kept = [each.value for each in ctx.xcom["locks"].memory.objects.values()]
            return [ctx.xcom["main"].pop(), [LOCKS.index(lock) for lock in kept]]
        """
    )
    zrb.run("push", "inbox", "files", "1", program="zrb-store")
    # What a step took that stands although its attempt failed is forgotten later, when there are many objects.
    assert zrb.run("last").out.strip() == "[[0, 1, 2], [0]]"


PLAIN = """
    import threading

    @make_task(name="choose", retries=0)
    def choose(ctx):
        ran("choose")
        ctx.xcom["mode"] = "dry-run"
        ctx.xcom.sizes = {"rows": 1}
        CHOOSE

    @make_task(name="grow", upstream=choose, retries=0)
    def grow(ctx):
        ran("grow")
        ctx.xcom["sizes"]["rows"] += 1

    @make_task(name="main", upstream=grow, retries=1, group=cli)
    def main(ctx):
        found = [ctx.xcom["mode"], "mode" in ctx.xcom, ctx.xcom.sizes, "new" in ctx.xcom, ctx.xcom.get("lock") is None]
        ctx.xcom["mode"] = "real"
        ctx.xcom["new"] = 1
        del ctx.xcom["sizes"]
        assert found[0] == "dry-run" and not found[3], found
        if ran("main") < 2:
            raise RuntimeError(found)  # the next attempt, and the next run, find what was there before this one
        return found
"""


@pytest.mark.promise(number=7)
def test_a_plain_value_survives_a_resume(zrb: Zrb) -> None:
    """With what the program has changed in it in place."""
    zrb.tasks(PLAIN.replace("CHOOSE", "pass"))
    zrb.run("main", code=1, ZRB_STORE_SESSION="plain")
    zrb.run("xcom", "fork", "plain", "--from", "main", "--name", "copy")
    assert zrb.resume("plain").out.strip() == "['dry-run', True, {'rows': 2}, False, True]"
    assert zrb.ran.count("choose") == zrb.ran.count("grow") == 1
    assert zrb.resume("copy").out.strip() == "['dry-run', True, {'rows': 2}, False, True]"
    assert zrb.stored("plain").live("mode") == ["real"]
    assert zrb.stored("plain").live("sizes") == []


@pytest.mark.promise(number=7)
def test_a_plain_value_that_no_codec_takes_is_made_again(zrb: Zrb) -> None:
    zrb.tasks(PLAIN.replace("CHOOSE", 'ctx.xcom["lock"] = threading.Lock()'))
    done = zrb.run("main", code=1, ZRB_STORE_SESSION="plain")
    (line,) = [line for line in lines(done.err) if "cannot store" in line]
    assert line.startswith("zrb-store: task choose: cannot store $: lock")
    plan = zrb.resume("plain", "--plan").out
    assert [row.split() for row in plan.splitlines()[1:]] == [
        ["choose", "run", "not-restorable"],
        ["grow", "skip", "completed"],
        ["main", "run", "failed"],
    ]
    assert zrb.resume("plain").out.strip() == "['dry-run', True, {'rows': 1}, False, False]"
    assert zrb.ran.count("choose") == 2


AT_ONCE = """
    start = Task(name="start", retries=0, action=lambda ctx: ctx.xcom.update(items=[]))

    def add(number):
        @make_task(name=f"add{number}", upstream=start, retries=0)
        async def add_one(ctx):
            items = ctx.xcom["items"]
            mark(f"has{number}")
            for earlier in ["has1", "has2", "has3", f"added{number - 1}"]:
                await wait_for(earlier)
            items.append(number)
            mark(f"added{number}")
        return add_one

    mark("added0")

    @make_task(name="main", upstream=[add(1), add(2), add(3)], retries=0, group=cli)
    def main(ctx):
        if ran("main") < 1:
            raise RuntimeError
        return ctx.xcom["items"]
"""


@oldest_and_newest
def test_what_tasks_change_at_once_in_a_plain_value_is_stored(zrb: Zrb) -> None:
    zrb.tasks(AT_ONCE)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plain")
    assert zrb.resume("plain").out.strip() == "[1, 2, 3]"


@oldest_and_newest
def test_what_a_failed_attempt_changed_in_a_plain_value_is_forgotten(zrb: Zrb) -> None:
    """The next attempt finds the value as it was, and another task that completes does not store the change."""
    zrb.tasks(
        """
        start = Task(name="start", retries=0, action=lambda ctx: ctx.xcom.update(items=[]))

        @make_task(name="other", upstream=start, retries=0)
        async def other(ctx):
            await wait_for("changed")

        @make_task(name="fails", upstream=start, retries=1, retry_period=0)
        async def fails(ctx):
            found = list(ctx.xcom["items"])
            ctx.xcom["items"].append(1)
            if ran("fails") < 1:
                mark("changed")
                while not ctx.session.get_task_status(other).is_completed:
                    await asyncio.sleep(0.01)
                raise RuntimeError
            return found

        @make_task(name="main", upstream=[other, fails], retries=0, group=cli)
        def main(ctx):
            return [ctx.xcom["fails"].pop(), ctx.xcom["items"]]
        """
    )
    assert zrb.run("main").out.strip() == "[[], [1]]"


@pytest.mark.promise(number=7)
@oldest_and_newest
def test_a_value_that_was_replaced_is_read_from_its_row(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import os
        from zrb_store import codec, open_store
        from zrb_store.operations.values import replace

        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            for queue in ("todo", "mode"):
                ctx.xcom[queue].extend([[1], [2]])
            session = ctx.xcom["todo"].place[0]
            with open_store() as other:  # as another process does it
                for queue in ("todo", "mode"):
                    replace(other.database, f"{session}/{queue}#1", codec.encode([9]), None)
            todo, mode = ctx.xcom["todo"], ctx.xcom["mode"]
            mode.rotate(1)
            return [todo.peek(), list(todo), todo.pop(), todo.pop(), mode.popright(), mode.pop()]
        """
    )
    assert zrb.run("main").out.strip() == "[[9], [[9], [2]], [9], [2], [9], [2]]"
