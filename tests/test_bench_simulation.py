"""The simulation of large installations: its numbers add up, grow with what is asked, and are what drawing lots finds."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.marks import renewed
from bench.simulation import page
from bench.simulation.__main__ import DOCS, main
from bench.simulation.costs import Costs, CostsMissing, as_json, read
from bench.simulation.curves import Curve, Panel, picture, short
from bench.simulation.model import HEARTBEAT_BYTES, HEARTBEAT_SECONDS, Model, Plan, TooMuch, following, least
from bench.simulation.workloads import WORKLOADS, Workload

ABOUT = {"date": "2026-01-02 03:04 UTC", "commit": "abc", "cpu": "a < b", "kernel": "Linux", "redis": "7.0"}
COSTS = Costs(
    delivery_us=8.0,
    connect_us=240.0,
    stream_memory=2600.0,
    node_memory=60e6,
    frame_overhead=30.0,
    append_us=60.0,
    append_batched_us=25.0,
    append_overhead=400.0,
    publish_us=250.0,
    publish_batched_us=15.0,
    deliver_us=4.0,
    deliver_batched_us=1.0,
    deliver_overhead=80.0,
    receive_us=90.0,
    receive_batched_us=25.0,
    follow_us=500.0,
    follow_redis_us=80.0,
    idle_us=500.0,
    idle_redis_us=60.0,
    idle_channel_us=0.5,
    idle_channel_redis_us=0.3,
    node_connections=3.0,
)
MODEL = Model(COSTS)
STREAMS = st.integers(1, 10_000_000)
WORKLOAD = st.sampled_from(WORKLOADS)


@given(workload=WORKLOAD, streams=st.tuples(STREAMS, STREAMS).map(sorted))
def test_more_streams_need_no_fewer_machines(workload: Workload, streams: list[int]) -> None:
    """Redis instances and bandwidth to streams never fall; nor do nodes, as long as the log is divided into as many. (More
    logs may need fewer nodes than one: each node then follows channels of fewer streams.)"""
    few, many = (MODEL.plan(workload, count) for count in streams)
    assert few.logs <= many.logs
    assert few.redis <= many.redis
    assert few.stream_bits <= many.stream_bits
    assert few.deliveries <= many.deliveries
    if few.logs == many.logs:
        assert few.nodes <= many.nodes
        assert few.redis_bits <= many.redis_bits * (1 + 1e-9)


@given(workload=WORKLOAD, streams=STREAMS, factor=st.floats(1.0, 3.0), price=st.sampled_from(sorted(asdict(COSTS))))
def test_dearer_work_needs_no_fewer_machines(workload: Workload, streams: int, factor: float, price: str) -> None:
    """Whichever cost goes up, neither a node nor a Redis carries more than before."""
    dear = Model(replace(COSTS, **{price: getattr(COSTS, price) * factor}))
    try:
        plan = dear.plan(workload, streams)
    except TooMuch:
        return
    before = MODEL.plan(workload, streams)
    assert plan.redis >= before.redis
    if plan.logs == before.logs:
        assert plan.nodes >= before.nodes


@given(workload=WORKLOAD, streams=STREAMS)
def test_a_plan_is_never_less_than_its_parts(workload: Workload, streams: int) -> None:
    """Neither a node nor a Redis is over any of its limits, and all streams are somewhere."""
    plan = MODEL.plan(workload, streams)
    assert max(plan.log.node.of_node(MODEL.limits).values()) <= 1
    assert max(plan.log.redis.of_redis(MODEL.limits).values()) <= 1
    assert plan.logs * plan.log.streams == pytest.approx(streams)
    assert plan.log.nodes * plan.log.node.streams == pytest.approx(plan.log.streams)
    assert plan.nodes == plan.logs * (plan.log.nodes + MODEL.limits.spare)
    delivering = plan.deliveries * COSTS.delivery_us / (MODEL.limits.cpu * 1e6)
    sending = plan.stream_bits / MODEL.limits.node_bits
    assert plan.nodes >= max(delivering, sending, streams / MODEL.limits.node_streams)
    assert plan.redis >= plan.published * COSTS.append(workload.batch) / (MODEL.limits.cpu * 1e6)


@given(workload=WORKLOAD, streams=STREAMS)
def test_what_is_sent_is_received(workload: Workload, streams: int) -> None:
    """Bytes from Redis are the bytes that nodes and relays take in; bytes to streams are their events and heartbeats."""
    plan = MODEL.plan(workload, streams)
    message = workload.event_bytes + COSTS.deliver_overhead
    into_nodes = plan.logs * plan.log.nodes * plan.log.node.bytes_in
    into_relays = plan.relays * plan.log.events * message
    assert plan.redis_bits == pytest.approx(8 * (into_nodes + into_relays))
    beating = streams / HEARTBEAT_SECONDS * HEARTBEAT_BYTES
    written = plan.deliveries * (workload.event_bytes + COSTS.frame_overhead)
    assert plan.stream_bits == pytest.approx(8 * (written + beating))
    assert plan.logs * plan.log.nodes * plan.log.node.bytes_out * 8 == pytest.approx(plan.stream_bits)


@given(workload=WORKLOAD, streams=STREAMS)
def test_an_event_reaches_a_node_at_most_once_and_every_log_that_has_to_have_it(
    workload: Workload, streams: int
) -> None:
    """A node takes in no more events than it delivers. Parts share the events; in a tree each log has all."""
    plan = MODEL.plan(workload, streams)
    assert plan.log.followers <= min(plan.log.nodes, plan.deliveries / plan.published) * (1 + 1e-9)
    if workload.divisible:
        assert plan.logs * plan.log.events == pytest.approx(plan.published)
        assert (plan.levels, plan.relays) == ((), 0)
    else:
        assert plan.log.events == pytest.approx(plan.published)
        assert plan.relays == plan.redis - 1


@given(workload=WORKLOAD, streams=STREAMS)
def test_one_log_fewer_would_be_too_few(workload: Workload, streams: int) -> None:
    """A plan has as few logs, and each of them as few nodes, as its limits allow."""
    plan = MODEL.plan(workload, streams)
    if plan.logs > 1:
        fewer = MODEL.log(workload, streams, plan.logs - 1)
        assert max(fewer.redis.of_redis(MODEL.limits).values()) > 1
    if plan.log.nodes > 1:
        fuller = replace(MODEL.limits, node_streams=1)  # so that only the count decides
        assert Model(COSTS, fuller).log(workload, min(streams, 100), plan.logs).nodes >= min(streams, 100) / plan.logs


def levels(plan: Plan) -> tuple[int, ...]:
    """Redis instances from the first to those with nodes."""
    return (*plan.levels, plan.logs)


def test_a_tree_grows_downwards_until_each_redis_can_feed_what_is_below_it() -> None:
    """One first log; no level is wider than what the one above it feeds."""
    ticker = next(workload for workload in WORKLOADS if workload.name == "ticker")
    dear = Model(replace(COSTS, deliver_us=20.0, deliver_batched_us=20.0))
    plan = dear.plan(ticker, 10_000_000)
    assert levels(plan)[0] == 1
    assert len(levels(plan)) >= 3
    feeds = dear.limits.cpu * 1e6 / (plan.published * 20.0)
    for above, below in pairwise(levels(plan)):
        assert above < below <= above * feeds


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 40), audience=st.integers(1, 60))
def test_following_is_what_drawing_lots_finds(seed: int, nodes: int, audience: int) -> None:
    """Streams that choose nodes at random leave as many nodes with at least one as the formula says, on average."""
    lots = random.Random(seed)
    runs = 400
    found = sum(len({lots.randrange(nodes) for _ in range(audience)}) for _ in range(runs)) / runs
    assert following(nodes, audience) == pytest.approx(found, abs=0.15 * nodes**0.5 + 0.05)


@given(bound=st.integers(1, 5000))
def test_the_least_is_the_first_that_fits(bound: int) -> None:
    """Found by doubling and halving."""
    assert least(lambda count: count >= bound) == bound


def test_what_cannot_be_divided_enough_is_refused() -> None:
    """A node that cannot take in all events has no remedy in more nodes, nor a relay that cannot in more relays."""
    flood = Workload(
        name="x",
        title="Flood",
        about="",
        channels=1,
        rate=1e6,
        event_bytes=100,
        batch=100,
        session=600,
        divisible=False,
    )
    with pytest.raises(TooMuch, match="Flood"):
        MODEL.plan(flood, 100_000)
    assert least(lambda count: False) is None
    with pytest.raises(TooMuch, match="a node cannot take in"):
        MODEL.log(flood, 1000, 1)
    with pytest.raises(TooMuch, match="relays"):
        Model(replace(COSTS, publish_batched_us=1e4, publish_us=1e4)).plan(WORKLOADS[-1], 10_000_000)


def test_a_batch_shares_what_a_call_costs() -> None:
    """Alone it costs what was measured alone, in hundreds what was measured in hundreds."""
    assert COSTS.append(1) == pytest.approx(60.0)
    assert COSTS.append(100) == pytest.approx(25.0)
    assert 25.0 < COSTS.receive(10) < 90.0
    assert COSTS.publish(1000) < 15.0
    assert replace(COSTS, append_us=20.0).append(10) == 20.0


@pytest.mark.parametrize(
    "wrong", [{}, {"audience": 2.0, "channels": 2}, {"channels": 1, "rate": 0.0}, {"channels": 1, "batch": 0}]
)
def test_a_workload_that_makes_no_sense_cannot_be_built(wrong: dict[str, float]) -> None:
    """It has one kind of channels, events, and sessions."""
    right = {"name": "x", "title": "X", "about": "", "rate": 1.0, "event_bytes": 1, "session": 1.0, "divisible": True}
    with pytest.raises(ValueError, match="a workload has"):
        Workload(**{**right, **wrong})  # type: ignore[arg-type]


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    """And with them, where they come from."""
    (tmp_path / "scaling.json").write_text(as_json(COSTS, ABOUT))
    assert read(tmp_path / "scaling.json") == (COSTS, ABOUT)


@pytest.mark.parametrize("text", ["", "{}", '{"costs": {}, "machine": {}}'])
def test_a_file_without_costs_is_refused(tmp_path: Path, text: str) -> None:
    """The error names the command that makes one."""
    (tmp_path / "scaling.json").write_text(text)
    with pytest.raises(CostsMissing, match="make bench"):
        read(tmp_path / "scaling.json")
    with pytest.raises(SystemExit, match="make bench"):
        main(["--costs", str(tmp_path / "none.json")])


def test_a_cost_that_is_no_number_or_negative_is_refused() -> None:
    """It names the cost."""
    with pytest.raises(CostsMissing, match="append_us"):
        replace(COSTS, append_us=-1.0)
    with pytest.raises(CostsMissing, match="idle_us"):
        replace(COSTS, idle_us=float("nan"))


def test_the_tables_show_every_workload_and_every_size() -> None:
    """And the costs, what one Redis and one node carry, and what is assumed."""
    texts = page.texts(MODEL, ABOUT)
    for workload in WORKLOADS:
        assert f"### {workload.title}" in texts["plans"]
    assert texts["plans"].count("| 10,000,000 |") == len(WORKLOADS)
    assert "at most 60%" in texts["plans"]
    assert "commit abc" in texts["costs"]
    assert "not quiet" not in texts["costs"]
    assert "processes used 9%" in page.texts(MODEL, {**ABOUT, "others": "used 9%"})["costs"]
    assert "| events/s into one Redis, no node follows  |        10,000 |         24,000 |" in texts["what they carry"]


def test_the_picture_is_an_image_for_light_and_dark() -> None:
    """It is well-formed, names every workload in every panel, and says where its numbers come from."""
    svg = page.as_picture(MODEL, ABOUT)
    words = [*ElementTree.fromstring(svg).itertext()]
    assert "prefers-color-scheme: dark" in svg
    assert words.count("Price ticker") == 4
    assert any("commit abc" in text and "a < b" in text for text in words)


def test_the_names_of_curves_do_not_cover_each_other() -> None:
    """Curves that end at the same place have their names one below the other."""
    svg = picture("x", [Panel("p", "", [Curve(name, [(1, 1), (10, 5)]) for name in "abc"], short)], "")
    places = [
        float(text.get("y", "")) for text in ElementTree.fromstring(svg).iter() if (text.text or "") in set("abc")
    ]
    assert [below - above for above, below in pairwise(places)] == pytest.approx([15.0, 15.0])


@pytest.mark.parametrize(("value", "text"), [(1e7, "10 M"), (2e4, "20 k"), (0.01, "0.01"), (100, "100")])
def test_round_numbers_are_short(value: float, text: str) -> None:
    """As axes have them."""
    assert short(value) == text


def test_the_command_renews_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs, tables and picture; with the published page, whose marks are all there."""
    (tmp_path / "scaling.md").write_text((DOCS / "scaling.md").read_text())
    page.write(COSTS, ABOUT, tmp_path)
    assert "commit abc" in (tmp_path / "scaling.md").read_text()
    assert read(tmp_path / "scaling.json")[0] == COSTS
    before = (DOCS / "scaling.md").read_bytes()
    assert main(["--costs", str(tmp_path / "scaling.json"), "--no-docs"]) == 0
    assert "### Debate broadcast" in capsys.readouterr().out
    assert (DOCS / "scaling.md").read_bytes() == before


def test_the_published_page_shows_what_the_published_costs_say() -> None:
    """`make scaling` would change nothing: nobody has edited the numbers, or the model without the page."""
    costs, about = read(DOCS / page.COSTS)
    text = (DOCS / page.PAGE).read_text()
    for name, part in page.texts(Model(costs), about).items():
        assert renewed(text, name, part) == text
    assert (DOCS / page.PICTURE).read_text() == page.as_picture(Model(costs), about)
