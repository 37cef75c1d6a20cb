"""What agents cost in money: the price of each answer, its sums, and budgets in dollars."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from genai_prices import Usage, calc_price
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from tests.agents.desk import triaged
from tests.support.commands import Commands
from tests.support.sessions import check
from zrb_store import BudgetUsed, Store
from zrb_store.agents import durable
from zrb_store.agents.money import dollars, stored_amount
from zrb_store.agents.settings import budget_of
from zrb_store.db.tables import attempt
from zrb_store.errors import InvalidArgument
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = pytest.mark.promise(number=11)

PRICED, UNPRICED = "gpt-4o", "house-model"


class Server:
    """Models, and the tokens that they have counted, by name."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, int, int]] = []

    def model(self, name: str, rounds: int) -> FunctionModel:
        """Return a model that calls a tool in each round, and then ends."""

        async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            number = sum(isinstance(one, ModelResponse) for one in messages)
            given, answered = 1001 * (number + 1), 11
            self.counted.append((name, given, answered))
            await asyncio.sleep(0)
            part = TextPart("done") if number == rounds else ToolCallPart("charge", {"n": number}, f"c{number}")
            return ModelResponse([part], usage=RequestUsage(input_tokens=given, output_tokens=answered))

        return FunctionModel(answer, model_name=name)

    def price(self) -> Decimal:
        """Return what the counted tokens of the priced model cost by the list."""
        counted = [(given, answered) for name, given, answered in self.counted if name == PRICED]
        return sum((list_price(given, answered) for given, answered in counted), Decimal())


def list_price(given: int, answered: int) -> Decimal:
    """Return what an answer of the priced model costs by the list."""
    return calc_price(Usage(input_tokens=given, output_tokens=answered), PRICED).total_price


class Desk:
    """Agents of one attempt, each with its model."""

    def __init__(self, store: Store, *models: str, rounds: int = 3, **terms: Any) -> None:
        self.server = Server()
        self._store = store
        self._models = models
        self._rounds = rounds
        self._terms = terms

    def start(self, session: str = "s") -> Any:
        """Start or continue a session, and return what the agents say; None if it waits."""
        return triaged(self._store, self._work, session)

    async def _work(self) -> list[str]:
        agents = [self._agent(name, model) for name, model in zip("ab", self._models, strict=False)]
        return [str(one.output) for one in await asyncio.gather(*(agent.run("Charge.") for agent in agents))]

    def _agent(self, name: str, model: str) -> Any:
        capabilities = [durable(**self._terms)]
        agent = Agent(self.server.model(model, self._rounds), name=name, capabilities=capabilities)

        @agent.tool_plain
        async def charge(n: int) -> str:
            return f"receipt {n}"

        return agent


def costs(command: Commands, session: str = "s") -> Any:
    """Return the costs of a session, as JSON has them."""
    return check("show", json.loads(command.ok("show", session, "--json")))["costs"]


def kill(desk: Desk, store: Store, visit: int) -> None:
    """Start a session that dies when this many of its steps have completed."""
    with pytest.raises(Crash), crash_at("step_complete:after", visit=visit):
        desk.start()
    expire_lease(store.session("s"))


def test_readers_show_what_the_server_counted_at_the_prices_of_the_list(
    store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prices are kept with the answers: a later list, or none, changes nothing."""
    desk = Desk(store, PRICED)
    kill(desk, store, 5)  # a prompt, two answers and two calls
    once = desk.server.price()
    assert desk.start() == ["done"]
    assert [given for _, given, _ in desk.server.counted] == [1001, 2002, 3003, 4004]
    paid = desk.server.price()
    assert paid > once > 0

    def no_list(_: object) -> None:
        raise LookupError

    monkeypatch.setattr(ModelResponse, "cost", no_list)
    found = costs(command)
    assert (Decimal(found["paid"]["usd"]), Decimal(found["used_again"]["usd"])) == (paid, once)
    assert (found["paid"]["priced_answers"], found["paid"]["unpriced_models"]) == (4, [])
    text = " ".join(command.ok("show", "s").split())
    assert f"paid 4 answers (10,010 in / 44 out tokens, {dollars(paid)}) and 3 tool calls; used again 2" in text
    (stats,) = json.loads(command.ok("stats", "--json"))
    tokens = check("task_stats", stats)["tokens"]
    assert (Decimal(tokens["paid"]["usd"]), Decimal(tokens["used_again"]["usd"])) == (paid, once)
    assert f"10,054 ({dollars(paid)})" in command.ok("stats")
    lines = command.ok("stats", "--format", "prometheus").splitlines()
    (line,) = (one for one in lines if one.startswith("zrb_store_agent_cost_usd{") and 'kind="paid"' in one)
    assert float(line.split()[-1]) == float(paid)
    turns = json.loads(command.ok("show", "s", "--conversation", "--json"))["turns"]
    assert sum(Decimal(check("turn", one)["usd"] or 0) for one in turns) == paid
    # An hour each: beside a step that a slow machine held up, the others would be joined in the picture.
    an_hour = sa.update(attempt).values(ended_at=attempt.c.started_at + 3_600_000_000)
    store.database.transact(lambda transaction: transaction.execute(an_hour.where(attempt.c.status == "completed")))
    page = command.ok("report", "s")
    picture = page[page.index("<svg") : page.index("</svg>")]
    for text in (page, picture):
        assert all(f"{given:,} in / 11 out tokens, {dollars(list_price(given, 11))}" in text for given in (1001, 4004))
    assert f"paid 4 answers (10,010 in / 44 out tokens, {dollars(paid)}) and 3 tool calls; used again 2" in page
    assert 'data-status="-"' not in page, "what a task has cost is no attempt, and has no mark"


def test_a_fork_has_not_paid_what_it_copies(store: Store, command: Commands) -> None:
    desk = Desk(store, PRICED)
    desk.start()
    paid = desk.server.price()
    command.ok("fork", "s", "--from", "triage", "--step", "a: model~3", "--name", "other")
    again = Desk(store, PRICED)
    again.start("other")
    found = costs(command, "other")
    assert [given for _, given, _ in again.server.counted] == [3003, 4004]
    assert Decimal(found["paid"]["usd"]) == again.server.price()
    assert Decimal(found["used_again"]["usd"]) == paid - again.server.price()


def test_a_model_without_a_price_is_named(store: Store, command: Commands) -> None:
    desk = Desk(store, PRICED, UNPRICED, rounds=1)
    desk.start()
    found = costs(command)["paid"]
    assert (Decimal(found["usd"]), found["priced_answers"]) == (desk.server.price(), 2)
    assert found["unpriced_models"] == [UNPRICED]
    text = " ".join(command.ok("show", "s").split())
    assert f"{dollars(desk.server.price())}, partly priced: 2 of 4 answers, not {UNPRICED})" in text
    lines = command.ok("stats", "--format", "prometheus").splitlines()
    (line,) = (one for one in lines if one.startswith("zrb_store_agent_unpriced_answers{") and 'kind="paid"' in one)
    assert line.endswith(" 2")


def test_a_private_agent_keeps_what_it_has_cost(
    store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_AGENTS", "private")
    desk = Desk(store, PRICED, rounds=1)
    desk.start()
    assert Decimal(costs(command)["paid"]["usd"]) == desk.server.price()


def test_an_answer_whose_usage_was_not_measured_has_no_price() -> None:
    from zrb_store.agents.runtime.prices import cost_of

    assert cost_of(ModelResponse([TextPart("x")], model_name=PRICED)) is None
    priced = cost_of(ModelResponse([TextPart("x")], model_name=PRICED, usage=RequestUsage(input_tokens=1)))
    assert priced is not None
    assert priced["model"] == "openai/gpt-4o"
    assert str(priced["prices"]).startswith("genai-prices ")


def test_a_model_has_loaded_the_list_before_it_answers() -> None:
    """In the event loop that would take 15 ms."""
    code = (
        "import sys; from pydantic_ai.models.test import TestModel; import zrb_store.agents.runtime.prices\n"
        "before = 'genai_prices.data' in sys.modules; TestModel(); print(before, 'genai_prices.data' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


@pytest.mark.parametrize("visit", [0, 2, 4])
def test_a_budget_in_dollars_holds_over_kills_and_resumes(store: Store, visit: int) -> None:
    two_answers = _counted(1001, 2002).price()
    desk = Desk(store, PRICED, budget=f"usd={two_answers}")
    if visit:
        kill(desk, store, visit)
    for _ in range(2):
        with pytest.raises(BudgetUsed, match=r"triage: \$0\.\d+ is used, and the budget is \$0\.\d+: .*such as usd=0"):
            desk.start()
    assert [given for _, given, _ in desk.server.counted] == [1001, 2002]
    more = Desk(store, PRICED, budget="usd=2.50")
    assert more.start() == ["done"]
    assert [given for _, given, _ in more.server.counted] == [3003, 4004]


def _counted(*given: int) -> Server:
    server = Server()
    server.counted = [(PRICED, each, 11) for each in given]
    return server


def test_two_agents_have_one_budget_in_dollars(store: Store, command: Commands) -> None:
    """Each may finish one more request; then the session waits for an amount of dollars."""
    desk = Desk(store, PRICED, PRICED, budget=f"usd={_counted(1001, 1001, 2002).price()}", wait_for_approval=True)
    assert desk.start() is None
    assert len(desk.server.counted) in (3, 4)
    assert "approve s --budget usd=N" in " ".join(command.ok("show", "s").split())
    refused = command("approve", "s", "--budget", "usd=0.0001")
    assert (refused.code, "is used, and the budget is $0.000100" in refused.err) == (2, True)
    assert "needs a larger budget in usd" in command("approve", "s", "--budget", "tokens=1000000").err
    assert "the budget is $2.50\n" in command.ok("approve", "s", "--budget", "usd=2.50")
    while desk.start() is None:  # the other one asks, too, where it has stopped
        command.ok("approve", "s", "--budget", "usd=2.50")
    assert len(desk.server.counted) == 8
    assert Decimal(costs(command)["paid"]["usd"]) == desk.server.price()


def test_an_answer_without_a_price_stops_under_a_budget_in_dollars(store: Store, command: Commands) -> None:
    desk = Desk(store, UNPRICED, budget="usd=2.50")
    with pytest.raises(BudgetUsed, match=r"budget is \$2.50, but answers of house-model have no price: .*tokens="):
        desk.start()
    assert len(desk.server.counted) == 1
    both = Desk(store, UNPRICED, budget="usd=2.50,tokens=4000")
    with pytest.raises(BudgetUsed, match=r"6,\d{3} tokens are used, and the budget is 4,000"):
        both.start()
    waits = Desk(store, UNPRICED, budget="usd=2.50", wait_for_approval=True)
    assert waits.start() is None
    assert "needs a larger budget" in command("approve", "s", "--budget", "usd=5").err
    command.ok("approve", "s", "--budget", "tokens=100000")
    assert waits.start() == ["done"]
    assert len(desk.server.counted + both.server.counted + waits.server.counted) == 4


@pytest.mark.parametrize("text", ["2.50", "usd=", "usd=1e3", "usd=-1", "usd=1,usd=2", "usd=1;tokens=2", "eur=2"])
def test_a_budget_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="set it to a number of tokens or dollars, or both"):
        budget_of(text, "budget")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.00000123", "$0.00000123"),
        ("0.0206", "$0.0206"),
        ("2.5", "$2.50"),
        ("1234.567", "$1,234.57"),
    ],
)
def test_how_an_amount_is_shown(amount: str, shown: str) -> None:
    assert dollars(Decimal(amount)) == shown
    assert stored_amount(amount) == Decimal(amount)


@pytest.mark.parametrize("stored", [None, 1.5, "many", "NaN", "Infinity"])
def test_what_is_no_amount(stored: Any) -> None:
    assert stored_amount(stored) is None
