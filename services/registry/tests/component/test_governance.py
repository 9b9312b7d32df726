"""Policies, promotions and details: who may change what, and what is kept of it, on every database."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from mltrainer_registry.application.create_version import VersionOutcome
from mltrainer_registry.application.move_alias import MoveAlias
from mltrainer_registry.application.promote_version import DecidePromotion, RequestPromotion
from mltrainer_registry.application.set_policy import SetPolicy
from mltrainer_registry.application.update_details import UpdateModel, UpdateVersion
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.details import Details, DetailsChange
from mltrainer_registry.domain.errors import (
    AliasMovedError,
    GateNotPassedError,
    InvalidFieldError,
    OwnPromotionError,
    PolicyNotFoundError,
    PromotionDecidedError,
    PromotionNotFoundError,
    RequestIdReusedError,
    StaleEtagError,
    VersionNotFoundError,
)
from mltrainer_registry.domain.names import AliasName, PolicyName, PromotionName, VersionName
from mltrainer_registry.domain.policies import Condition, ConditionKind
from mltrainer_registry.domain.promotions import PromotionState
from mltrainer_registry.domain.versions import ModelVersion

CHAMPION = AliasName("vol5", "champion")
POLICY = PolicyName("vol5", "champion")
ADA, BOB = Motive("users/ada", "better"), Motive("users/bob", "agreed")
APPROVED = Condition(ConditionKind.APPROVED)
LINEAGE = Condition(ConditionKind.LINEAGE_COMPLETE)
EDGE = Condition(ConditionKind.VERDICT_IS_EDGE)


async def ask_for(registry: Any, *conditions: Condition, name: PolicyName = POLICY, etag: str = "") -> Any:
    return await registry.use.governance.set_policy(SetPolicy(name, conditions, ADA, etag))


async def take_back(registry: Any, name: PolicyName) -> Any:
    return await registry.use.governance.set_policy(SetPolicy(name, None, BOB, ""))


def request(number: int = 1, *, motive: Motive = ADA, request_id: str = "") -> RequestPromotion:
    return RequestPromotion(CHAMPION, VersionName("vol5", number), motive, request_id)


def decide(*, number: int = 1, approve: bool = True, motive: Motive = BOB) -> DecidePromotion:
    return DecidePromotion(PromotionName("vol5", number), motive, approve)


def change(paths: Sequence[str], description: str = "", **tags: str) -> DetailsChange:
    return DetailsChange(Details(description, tags), tuple(paths))


async def test_the_closest_policy_holds(registry: Any) -> None:
    shipped = await registry.use.governance.reader.policy(POLICY)
    await ask_for(registry, LINEAGE, name=PolicyName("-", "champion"))
    default = await registry.use.governance.reader.policy(POLICY)
    await ask_for(registry, EDGE)
    own = await registry.use.governance.reader.policy(POLICY)
    other = await registry.use.governance.reader.policy(PolicyName("ret5", "champion"))
    fallback = await registry.use.governance.reader.policy(PolicyName("vol5", "blue"))

    assert [one.kind for one in shipped.policy.conditions] == [
        EDGE.kind,
        LINEAGE.kind,
        "not_worse_than_champion",
    ]
    assert (str(default.name), str(own.name)) == (
        "models/-/gatePolicies/champion",
        "models/vol5/gatePolicies/champion",
    )
    assert (other.name, fallback.name) == (PolicyName("-", "champion"), PolicyName("-", "-"))


async def test_a_policy_holds_from_the_next_evaluation_on_and_its_history_is_kept(registry: Any) -> None:
    await registry.make_version("trainings/t1", r2=0.5, alias="champion")
    await registry.make_version("trainings/t2", r2=0.4)
    move = MoveAlias(CHAMPION, VersionName("vol5", 2), VersionName("vol5", 1), ADA, "")
    with pytest.raises(GateNotPassedError):
        await registry.use.move_alias(move)

    await ask_for(registry, EDGE)
    await registry.use.move_alias(move)
    await ask_for(registry, EDGE, LINEAGE)
    again = await ask_for(registry, EDGE, LINEAGE)

    history = await registry.use.governance.reader.policy_changes(POLICY, 10, "")
    assert [(one.number, one.actor, len(one.policy.conditions)) for one in history.items] == [
        (2, "users/ada", 2),
        (1, "users/ada", 1),
    ]
    assert again == history.items[0]


async def test_a_policy_is_not_overwritten_by_who_has_not_read_it(registry: Any) -> None:
    first = await ask_for(registry, EDGE)
    await ask_for(registry, LINEAGE, etag=first.etag)

    with pytest.raises(StaleEtagError):
        await ask_for(registry, EDGE, etag=first.etag)


async def test_a_policy_that_was_taken_back_leaves_the_next_closest_one(registry: Any) -> None:
    await ask_for(registry, EDGE)

    unset = await take_back(registry, POLICY)
    again = await take_back(registry, POLICY)

    reader = registry.use.governance.reader
    holds = await reader.policy(POLICY)
    listed = await reader.policies(10, "")
    history = await reader.policy_changes(POLICY, 10, "")
    assert (unset.policy, unset.number, again) == (None, 2, unset)
    assert holds.name == PolicyName("-", "champion")
    assert POLICY not in [one.name for one in listed.items]
    assert [one.policy is None for one in history.items] == [True, False]


async def test_a_policy_may_be_set_again_after_it_was_taken_back(registry: Any) -> None:
    await ask_for(registry, EDGE)
    await take_back(registry, POLICY)

    await ask_for(registry, EDGE)

    holds = await registry.use.governance.reader.policy(POLICY)
    assert (holds.name, holds.number) == (POLICY, 3)


async def test_neither_the_last_resort_nor_what_was_never_set_is_taken_back(registry: Any) -> None:
    with pytest.raises(InvalidFieldError, match="last resort"):
        await take_back(registry, PolicyName("-", "-"))
    with pytest.raises(PolicyNotFoundError):
        await take_back(registry, POLICY)


async def test_policies_are_listed_once_each_page_by_page(registry: Any) -> None:
    for model in ("a", "b", "c-d"):
        await ask_for(registry, EDGE, name=PolicyName(model, "champion"))
        await ask_for(registry, LINEAGE, name=PolicyName(model, "champion"))
    names, cursor = [], ""
    while True:
        page = await registry.use.governance.reader.policies(2, cursor)
        names += [(one.name.model, one.name.alias, one.number) for one in page.items]
        if not (cursor := page.next_cursor):
            break

    assert sorted(names) == [
        ("-", "-", 1),
        ("-", "champion", 1),
        ("a", "champion", 2),
        ("b", "champion", 2),
        ("c-d", "champion", 2),
    ]


async def test_an_alias_that_needs_approval_waits_for_somebody_else(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await ask_for(registry, EDGE, APPROVED)

    asked = await registry.use.governance.request_promotion(request())
    with pytest.raises(OwnPromotionError):
        await registry.use.governance.decide_promotion(decide(motive=ADA))
    granted = await registry.use.governance.decide_promotion(decide())
    again = await registry.use.governance.decide_promotion(decide())

    assert (asked.state, asked.requester, granted.state) == (
        PromotionState.PENDING,
        "users/ada",
        PromotionState.APPLIED,
    )
    assert again == granted
    assert registry.follower.alias(CHAMPION).number == 1
    (move,) = (await registry.use.reader.alias_moves(CHAMPION, 10, "")).items
    assert (move.actor, move.reason) == ("users/ada", "better; approved by users/bob: agreed")
    held = (await registry.use.reader.gate_evaluations(VersionName("vol5", 1), 10, "")).items
    assert [one.passed for one in held] == [True, False]
    assert held[0].results[1].detail == "users/bob has approved: agreed"


async def test_a_training_that_proposes_such_an_alias_asks_for_its_owner(
    registry: Any, attempts: Any
) -> None:
    await ask_for(registry, EDGE, APPROVED)
    event = attempts.succeeded("trainings/t1", alias="champion")
    event.spec.owner = "users/ada"

    outcome, _ = await registry.deliver(event)
    (waiting,) = (
        await registry.use.governance.reader.promotions("vol5", PromotionState.PENDING, 10, "")
    ).items
    with pytest.raises(OwnPromotionError):
        await registry.use.governance.decide_promotion(decide(motive=ADA))

    assert outcome is VersionOutcome.AWAITS_APPROVAL
    assert (waiting.requester, waiting.version) == ("users/ada", VersionName("vol5", 1))


async def test_nobody_moves_such_an_alias_directly(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await ask_for(registry, APPROVED)

    with pytest.raises(GateNotPassedError) as refused:
        await registry.use.move_alias(MoveAlias(CHAMPION, VersionName("vol5", 1), None, BOB, ""))

    assert refused.value.failed_conditions == ("approved",)


async def test_without_need_of_approval_a_request_moves_at_once(registry: Any) -> None:
    await registry.make_version("trainings/t1")

    promotion = await registry.use.governance.request_promotion(request(request_id="q1"))
    repeated = await registry.use.governance.request_promotion(request(request_id="q1"))

    assert (promotion.state, promotion.decision.decider) == (PromotionState.APPLIED, "policy")
    assert repeated == promotion
    assert registry.follower.alias(CHAMPION).number == 1


async def test_an_approval_cannot_make_up_for_a_worse_version(registry: Any) -> None:
    await registry.make_version("trainings/t1", r2=0.5, alias="champion")
    await registry.make_version("trainings/t2", r2=0.4)
    await ask_for(registry, Condition(ConditionKind.BEATS_CHAMPION, "r2"), APPROVED)

    with pytest.raises(GateNotPassedError) as refused:
        await registry.use.governance.request_promotion(request(2))

    assert refused.value.failed_conditions == ("beats_champion", "approved")
    assert not (await registry.use.governance.reader.promotions("vol5", None, 10, "")).items


async def test_an_alias_that_moved_meanwhile_is_not_moved_back(registry: Any) -> None:
    for number in (1, 2):
        await registry.make_version(f"trainings/t{number}")
    await ask_for(registry, APPROVED)
    await registry.use.governance.request_promotion(request(1))
    await registry.use.governance.request_promotion(request(2))
    await registry.use.governance.decide_promotion(decide(number=2))

    with pytest.raises(AliasMovedError):
        await registry.use.governance.decide_promotion(decide(number=1))

    assert registry.follower.alias(CHAMPION).number == 2


async def test_a_rejection_is_for_good(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await ask_for(registry, APPROVED)
    await registry.use.governance.request_promotion(request())

    rejected = await registry.use.governance.decide_promotion(decide(approve=False))
    with pytest.raises(PromotionDecidedError):
        await registry.use.governance.decide_promotion(decide())
    asked_again = await registry.use.governance.request_promotion(request())

    assert rejected.state is PromotionState.REJECTED
    assert asked_again.name.number == 2


async def test_of_racing_approvers_one_decides_and_all_hear_the_same(open_registry: Any) -> None:
    instances = [await open_registry(), await open_registry()]
    await instances[0].make_version("trainings/t1")
    await ask_for(instances[0], APPROVED)
    await instances[0].use.governance.request_promotion(request())

    commands = [decide(motive=Motive(f"users/{number}", "yes")) for number in range(6)]
    calls = [instances[n % 2].use.governance.decide_promotion(one) for n, one in enumerate(commands)]
    answers = await asyncio.gather(*calls)

    assert len({answer.decision.decider for answer in answers}) == 1
    assert len((await instances[0].use.reader.alias_moves(CHAMPION, 10, "")).items) == 1


async def test_requests_that_make_no_sense_are_refused(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await ask_for(registry, APPROVED)
    await registry.use.governance.request_promotion(request(request_id="q1"))

    with pytest.raises(VersionNotFoundError):
        await registry.use.governance.request_promotion(request(9))
    with pytest.raises(RequestIdReusedError):
        await registry.use.governance.request_promotion(request(2, request_id="q1"))
    with pytest.raises(InvalidFieldError):
        await registry.use.governance.request_promotion(
            RequestPromotion(CHAMPION, VersionName("other", 1), ADA, "")
        )
    with pytest.raises(PromotionNotFoundError):
        await registry.use.governance.decide_promotion(decide(number=9))


async def test_tags_and_descriptions_change_and_nothing_else_does(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")
    before = await registry.follower.version(name)

    tagged = change(["tags.team", "description"], "For **vol**.", team="vol")
    await registry.use.governance.update_version(UpdateVersion(name, tagged, before.etag))
    with pytest.raises(StaleEtagError):
        await registry.use.governance.update_version(UpdateVersion(name, tagged, before.etag))
    await registry.use.governance.update_version(UpdateVersion(name, change(["tags.env"], env="prod"), ""))
    await registry.use.governance.update_version(UpdateVersion(name, change(["tags.team"]), ""))

    after: ModelVersion = await registry.follower.version(name)
    assert after.details == Details("For **vol**.", {"env": "prod"})
    assert (after.result, after.lineage, after.manifest) == (before.result, before.lineage, before.manifest)
    assert after.etag != before.etag


async def test_a_change_that_changes_nothing_takes_no_revision(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    tagged = UpdateModel("vol5", change(["tags"], team="vol"), "")
    first = await registry.use.governance.update_model(tagged)

    again = await registry.use.governance.update_model(tagged)

    assert again.revision == first.revision
    assert (await registry.use.get_model("vol5")).details.tags == {"team": "vol"}


async def test_every_change_is_told_to_new_and_present_watchers(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await ask_for(registry, EDGE, APPROVED)
    await registry.use.governance.request_promotion(request())
    await registry.use.governance.decide_promotion(decide())
    await registry.use.governance.update_model(UpdateModel("vol5", change(["tags"], team="vol"), ""))
    version = UpdateVersion(VersionName("vol5", 1), change(["tags"], env="prod"), "")
    await registry.use.governance.update_version(version)

    told = [type(one.resource).__name__ for one in await registry.log.changes(0, 100)]
    state = [type(one.resource).__name__ for one in await registry.log.present_state(0, 100, 100)]

    assert told == [
        "ModelVersion",
        "PolicyChange",
        "GateEvaluation",
        "Promotion",
        "GateEvaluation",
        "Alias",
        "Promotion",
        "Model",
        "ModelVersion",
    ]
    assert state == ["PolicyChange", "Alias", "Promotion", "Model", "ModelVersion"]
