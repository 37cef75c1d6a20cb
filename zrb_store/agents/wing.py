"""What this wing adds: steps of agents, how readers show them, `approve`, and hooks of zrb's LLM tasks."""

from __future__ import annotations

from zrb_store.agents.kinds import APPROVAL, BUDGET, DEFERRED, MODEL_REQUEST, PROMPT, TOOL_CALL
from zrb_store.wings import Command, Kind, Numbers, Setting, View, Wing

_PLAIN = Kind(teller=f"{__package__}.notes:teller")
_SAID = _PLAIN._replace(differences=f"{__package__}.conversation:differences")
_ANSWER = f"{__package__}.approve:answer_to"

WING = Wing(
    commands={
        "approve": Command(
            f"{__package__}.commands",
            "Answer an agent that waits for the approval of a call, or for a larger budget.",
            after="pop",
        )
    },
    settings=(
        Setting(
            "ZRB_STORE_AGENTS",
            "`on`: each model request and tool call of an LLM task is a [step](../how-to/agents.md) · `off` · "
            "`private`: steps without prompts and answers, which cannot be used again",
            "on",
            after="ZRB_STORE_RETENTION",
            choices=("on", "off", "private"),
        ),
        Setting(
            "ZRB_STORE_CHANGED_REQUEST",
            "stored answers of an agent no longer [fit its requests](../how-to/agents.md#what-may-change) · "
            "`rerun`: make the requests again · `reuse`: use the answers · `stop`: end the task, and let you decide",
            "rerun",
            after="ZRB_STORE_AGENTS",
            choices=("rerun", "reuse", "stop"),
        ),
        Setting(
            "ZRB_STORE_BUDGET",
            "`tokens=N`, `usd=2.50` or both, with a comma: what the agents of a session may use over all its runs, "
            "before it [ends or waits](../how-to/agents.md#budgets-and-approvals)",
            None,
            "no limit",
            after="ZRB_STORE_CHANGED_REQUEST",
            check=f"{__package__}.settings:budget_of",
        ),
    ),
    kinds={
        PROMPT: _SAID,
        MODEL_REQUEST: _SAID,
        TOOL_CALL: _SAID,
        APPROVAL: _SAID._replace(answer=_ANSWER),
        DEFERRED: _SAID,
        BUDGET: _PLAIN._replace(answer=_ANSWER),
    },
    view=View(
        name="conversation",
        purpose="Show what an agent and its model said.",
        details="With --conversation, give a TASK that has an agent in place of a QUEUE, or nothing if only one has. "
        "Long texts are cut, and an earlier conversation that the agent was given is one line, unless --full is given.",
        format="markdown",
        print=f"{__package__}.view:print_conversation",
        texts=f"{__package__}.view:texts",
        unit="turn",
        compared="what agents said: $.triage.conversation[3].text",
    ),
    numbers=Numbers(
        name="tokens",
        read=f"{__package__}.stats:costs_of_tasks",
        columns=("paid", "used again", "thrown away"),
        families={
            "agent_tokens": "Tokens of a task's agents: paid, used again from the store, and thrown away by a "
            "give-back.",
            "agent_cost_usd": "Dollars that a task's agents cost, as far as their answers have a price.",
            "agent_unpriced_answers": "Answers of models to a task's agents that have no price.",
        },
        details="If there are agents, PAID is the sum of tokens that their models were sent and gave, USED AGAIN that "
        "of the stored answers that the last attempt or a fork used instead, and THROWN AWAY that of paid answers, "
        "given back since. An amount of dollars follows if the models have a price. The cost of a request whose answer "
        "never came is not known.",
    ),
    task_classes=frozenset({"LLMTask", "LLMChatTask"}),
    task_hooks=f"{__package__}.llm_tasks.hooks:install",
    step_planner=f"{__package__}.llm_tasks.plan:plan_steps",
)
