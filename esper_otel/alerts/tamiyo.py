"""Alerts about the trust region of policy updates, the entropy of the policy and the critic."""

from typing import Final

import msgspec

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import (
    ARM,
    WINDOW,
    Share,
    counted,
    limit,
    metric,
    series,
    share,
    threshold,
    unless_returns_are_alike,
    windowed,
)
from esper_otel.events.policy_critic import FAILING_LEAST, FAILING_SHARE

_UPDATES: Final = metric("tamiyo.updates")
_UPDATE_SERIES: Final = series("tamiyo.updates")
_OF_UPDATES: Final = "{{ $value | humanizePercentage }} of the updates of {{ $labels.instance }} in 30 min "
_FAILING: Final = Share(FAILING_SHARE, FAILING_LEAST)
_PER_SAMPLE: Final = 40
"""Updates between two samples of the tests, so that a share can be put just under and just over its limit."""

_COLLAPSED_UPDATES: Final = 5
_ALIKE: Final = (
    "It is silent while `tamiyo_ev_low_return_variance` was 1 all the time: there is nothing to explain then."
)
_BY_HEAD: Final = (*ARM, "head")
_OF_ONE_HEAD: Final = (*ARM, "rank", "head")


def _collapsed() -> str:
    """Collapsed updates of a head whose last entropy is collapsed too; the worst rank.

    It is counted, not waited for: a run may end seconds after its policy did. What it said last counts for as long as
    a single event would.
    """
    updates = counted(metric("tamiyo.head_entropy_violations", severity="critical"), _OF_ONE_HEAD, over="2h")
    newest = windowed("last_over_time", metric("tamiyo.head_entropy"), WINDOW)
    low = limit("tamiyo.head_entropy", "critical_below")
    return (
        f"max by ({', '.join(_BY_HEAD)}) (\n{updates} >= {_COLLAPSED_UPDATES}\n"
        f"and on ({', '.join(_OF_ONE_HEAD)}) {newest} < {low}\n)"
    )


def _unless_alike(alert: Alert, over: str) -> Alert:
    return msgspec.structs.replace(alert, expr=unless_returns_are_alike(alert.expr, over))


def _share_of_updates(
    name: str, counter: str, *, of: str, above: float, summary: str, reason: str, **fields: str | tuple[str, ...]
) -> Alert:
    """Too large a share of the updates did what ``counter`` counts: one alone is no news, many are."""
    enough = Share(above, 20)
    label = {"severity": "critical"} if of == "critical" else {}
    sample = {"severity": "critical"} if of else {}
    watched = series(counter, **sample)
    under, over = int(above * _PER_SAMPLE * 0.8), int(above * _PER_SAMPLE * 1.2) + 1
    updates = {series("tamiyo.updates"): f"0+{_PER_SAMPLE}x400"}
    return msgspec.convert(
        {
            "name": name,
            "domain": "tamiyo",
            "expr": share(metric(counter, **label), _UPDATES, enough),
            "share": enough,
            "hold": "10m",
            "summary": _OF_UPDATES + summary,
            "reason": reason,
            "fires": {**updates, watched: f"0x40 0+{over}x360"},
            "quiet": {**updates, watched: f"0+{under}x400"},
            **fields,
        },
        Alert,
    )


_TRUST_REGION = (
    _share_of_updates(
        "TamiyoKlHigh",
        "tamiyo.kl_violations",
        of="any",
        above=0.2,
        severity="warning",
        concern="kl",
        summary=f"had a KL above {limit('tamiyo.kl_violations', 'warning_above')}",
        reason=text(f"""
            {threshold("tamiyo.kl_violations").reason} A fifth of the updates is ten times what good runs have.
        """),
        meaning="Most updates move the policy further than intended.",
        look=(metric("tamiyo.kl_divergence"), metric("tamiyo.lr"), metric("tamiyo.approx_kl_max")),
        act="Lower the learning rate or the number of epochs for each update, or set a target KL.",
    ),
    _share_of_updates(
        "TamiyoKlExploded",
        "tamiyo.kl_violations",
        of="critical",
        above=0.05,
        severity="critical",
        concern="kl",
        summary=f"had a KL above {limit('tamiyo.kl_violations', 'critical_above')}",
        reason=text(f"""
            {threshold("tamiyo.kl_violations").reason} No update of a good run is beyond the critical limit; one in
            twenty of this size overwrites what was learnt.
        """),
        meaning="Updates leave the trust region by far.",
        look=(metric("tamiyo.kl_divergence"), metric("tamiyo.head_kl"), metric("tamiyo.lr")),
        act="Stop the run, resume from an earlier checkpoint with a smaller learning rate.",
    ),
    _share_of_updates(
        "TamiyoClipFractionHigh",
        "tamiyo.clip_fraction_violations",
        of="any",
        above=0.2,
        severity="warning",
        concern="clip",
        summary=f"clipped more than {limit('tamiyo.clip_fraction_violations', 'warning_above')} of their steps",
        reason=text(f"""
            {threshold("tamiyo.clip_fraction_violations").reason} A fifth of the updates is ten times what good runs
            have.
        """),
        meaning="Much of each batch is clipped and gives no gradient.",
        look=(metric("tamiyo.clip_fraction"), metric("tamiyo.head_clip_fraction"), metric("tamiyo.lr")),
        act="Lower the learning rate or the number of epochs for each update.",
    ),
    _share_of_updates(
        "TamiyoRatioExploded",
        "tamiyo.policy_ratio_violations",
        of="critical",
        above=0.05,
        severity="warning",
        concern="policy_ratio",
        summary=f"had a probability ratio above {limit('tamiyo.policy_ratio_violations', 'critical_above')}",
        reason=text(f"""
            {threshold("tamiyo.policy_ratio_violations").reason} Clipping handles a single one, so the alert requires a
            share of 5 %.
        """),
        meaning="Probability ratios new/old are far above 1: actions become several times as likely in one update.",
        look=(metric("tamiyo.policy_ratio_max"), metric("tamiyo.head_policy_ratio_max"), metric("tamiyo.log_prob_min")),
        act=text("""
            Check which head it is, and whether its log-probabilities are very small (an action that was all but ruled
            out was taken); a mask that changed between rollout and update does the same.
        """),
    ),
    _share_of_updates(
        "TamiyoRatioCollapsed",
        "simic.ratio_collapses",
        of="",
        above=0.15,
        severity="warning",
        concern="policy_ratio",
        summary="had a collapsed probability ratio",
        reason=text("""
            The detector fires below a ratio of 0.1: an action lost nine tenths of its probability in one update. The
            demonstration does that in 3 % of its first hundred updates.
        """),
        meaning="Probability ratios new/old are close to 0.",
        look=(metric("tamiyo.policy_ratio_min"), metric("tamiyo.clip_fraction_negative")),
        act="Take the steps of TamiyoRatioExploded; check the advantages of those rounds for extreme values.",
    ),
)

_HEALTH = (
    Alert(
        name="TamiyoHeadEntropyCollapsed",
        domain="tamiyo",
        severity="critical",
        concern="entropy",
        by=_BY_HEAD,
        expr=_collapsed(),
        least=_COLLAPSED_UPDATES,
        summary=text(f"""
            Head {{{{ $labels.head }}}} of {{{{ $labels.instance }}}} had an entropy below
            {limit("tamiyo.head_entropy", "critical_below")} of its maximum in {{{{ $value | printf "%.0f" }}}} updates
            and still has
        """),
        reason=text(f"""
            {threshold("tamiyo.head_entropy").reason} Updates are counted, because a short run may be over
            seconds later; good runs have none below this limit.
        """),
        meaning="One head of the policy has become deterministic and no longer explores.",
        look=(metric("tamiyo.head_entropy"), metric("tamiyo.head_learnable_fraction"), metric("tamiyo.entropy_coef")),
        act="Raise the entropy coefficient or its floor for this head, and resume from before the collapse.",
        fires={
            series("tamiyo.head_entropy", head="op"): "0.8x40 0.02x2 _x400",
            series("tamiyo.head_entropy_violations", head="op", severity="critical"): "0x40 5x2 _x400",
        },
        quiet={
            series("tamiyo.head_entropy", head="op"): "0.8x40 0.02x2 _x400",
            series("tamiyo.head_entropy_violations", head="op", severity="critical"): "0x40 4x2 _x400",
        },
        at=12,
        sample={"head": "op"},
    ),
    _unless_alike(
        on_count(
            "TamiyoValueCollapsed",
            "simic.value_collapses",
            labels={},
            sample={},
            domain="tamiyo",
            severity="warning",
            concern="critic",
            summary='The critic of {{ $labels.instance }} failed {{ $value | printf "%.0f" }} time(s)',
            reason=f"The detector of the training decides, with limits that grow stricter as the run goes on. {_ALIKE}",
            meaning="The critic's loss or Bellman error was far too large, or its values collapsed to one.",
            look=(metric("tamiyo.value_loss"), metric("tamiyo.bellman_error"), metric("tamiyo.value_std")),
            act="Compare the spread of the values with the spread of the returns; look at `tamiyo_value_target_scale`.",
        ),
        WINDOW,
    ),
    Alert(
        name="TamiyoExplainedVarianceLow",
        domain="tamiyo",
        severity="warning",
        concern="critic",
        expr=unless_returns_are_alike(
            share(metric("tamiyo.explained_variance_violations", severity="critical"), _UPDATES, _FAILING, over="1h"),
            over="1h",
        ),
        share=_FAILING,
        hold="15m",
        summary=text("""
            {{ $value | humanizePercentage }} of the updates of {{ $labels.instance }} in 1 h had an explained variance
            below 0
        """),
        reason=text(f"""
            {threshold("tamiyo.explained_variance_violations").reason} It is that of the values that the advantages were
            made from, before the critic learns from the rollout. Early in a run returns move faster than the critic
            follows: of five demonstrations 47, 27, 46, 58 and 91 % of the updates are below 0, up to 77 % of the first
            50; in the chaos recipe 54 %. The alert requires 80 % of at least 50 updates and marks the one whose critic
            was worse than a constant in 11 of 12 rollouts. {_ALIKE}
        """),
        meaning="The critic is worse than a constant; the advantages are noise.",
        look=(metric("tamiyo.explained_variance"), metric("tamiyo.ev_return_variance"), metric("tamiyo.value_nrmse")),
        act=text("""
            While `tamiyo_ev_low_return_variance` is 1 the returns hardly vary and nothing is wrong. Otherwise raise the
            weight or the learning rate of the critic.
        """),
        fires={
            _UPDATE_SERIES: "0+2x400",
            series("tamiyo.explained_variance_violations", severity="critical"): "0x20 0+2x380",
        },
        quiet={
            _UPDATE_SERIES: "0+2x400",
            series("tamiyo.explained_variance_violations", severity="critical"): "0+2x30 60x370",
        },
    ),
)

ALERTS: Final = (*_TRUST_REGION, *_HEALTH)
