"""Alerts about the host's training, the seeds in it and the rewards."""

from typing import Final

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import ARM, Share, metric, series, share

_ENV: Final = (*ARM, "env_id")
_BY_ENV: Final = ", ".join(_ENV)
_BY: Final = ", ".join(ARM)
_PLATEAU: Final = Share(0.75, 40)
_PRUNED: Final = Share(0.95, 40)

_TOLARIA = (
    on_count(
        "TolariaRollback",
        "tolaria.rollbacks",
        labels={},
        sample={"panic_reason": "governor_divergence"},
        domain="tolaria",
        severity="warning",
        concern="rollback",
        summary='{{ $value | printf "%.0f" }} host(s) of {{ $labels.instance }} were rolled back',
        reason=text("""
            The governor acts on NaN, on a loss far above its running mean or on a lobotomised host; each one matters.
        """),
        meaning="The governor restored a host to its last good state and punished the policy.",
        look=(f"sum by (panic_reason) (increase({metric('tolaria.rollbacks')}[1h]))", metric("tolaria.val_loss")),
        sql=text("""
            SELECT timestamp, env_id, panic_reason, inner_epoch, loss_at_panic, loss_threshold FROM rollbacks ORDER BY
            timestamp DESC LIMIT 20
        """),
        act="Read TOLARIA_ROLLBACK in the log: loss, limit and environment; see which seed was blended in just before.",
    ),
    Alert(
        name="TolariaRollbackStorm",
        domain="tolaria",
        severity="critical",
        concern="rollback",
        expr=f"sum by ({_BY}) (increase({metric('tolaria.rollbacks')}[30m])) > 4.5",
        summary='{{ $value | printf "%.0f" }} rollbacks of {{ $labels.instance }} in 30 min',
        reason=text("""
            Five in half an hour mean that the policy does not learn from the penalty; 4.5 allows for extrapolation.
        """),
        meaning="The governor rolls hosts back repeatedly; their rounds are lost.",
        look=(f"sum by (panic_reason) (increase({metric('tolaria.rollbacks')}[30m]))",),
        sql="SELECT panic_reason, env_id, count(*) AS times FROM rollbacks GROUP BY ALL ORDER BY times DESC",
        act="Stop the run; lower the host's learning rate or the speed of blending.",
        fires={series("tolaria.rollbacks", panic_reason="governor_divergence"): "0x140 0+1x10 10x250"},
        quiet={series("tolaria.rollbacks", panic_reason="governor_divergence"): "0x60 1x60 2x60 3x200"},
        at=45,
    ),
    Alert(
        name="TolariaHostLossDiverged",
        domain="tolaria",
        severity="warning",
        concern="host_loss",
        by=_ENV,
        expr=f"max by ({_BY_ENV}) ({metric('tolaria.val_loss')})\n"
        f"  > 2 * max by ({_BY_ENV}) (max_over_time({metric('tolaria.val_loss')}[1h] offset 5m))",
        hold="1m",
        summary=text("""
            The validation loss of environment {{ $labels.env_id }} of {{ $labels.instance }} is {{ $value | humanize }}
        """),
        reason=text("""
            Every episode starts from a fresh host at about ln(classes), the largest healthy loss; twice the worst of
            the previous hour is divergence, not a new episode.
        """),
        meaning="The host's loss is far above anything of the last hour, a fresh host included.",
        look=(metric("tolaria.val_loss"), metric("tolaria.train_loss"), metric("tolaria.host_grad_norm_pre_clip")),
        sql=text("""
            SELECT timestamp, env_id, inner_epoch, val_loss, host_train_loss FROM tolaria_epochs ORDER BY val_loss DESC
            LIMIT 20
        """),
        act="Check whether the governor rolls the host back (TolariaRollback); if not, its limit is too wide.",
        fires={series("tolaria.val_loss"): "2.3x10 1.2x30 2.3x10 1.2x150 9x20"},
        quiet={series("tolaria.val_loss"): "2.3x20 1.2x30 2.3x20 1.2x30 2.3x20 0.8x30 2.3x40 1.2x100"},
        at=53,
        sample={"env_id": "0"},
    ),
    on_count(
        "TolariaHostLossNonFinite",
        "esper.telemetry.nonfinite",
        labels={"event_type": "TOLARIA_EPOCH_COMPLETED", "field": "~val_loss|host_train_loss"},
        sample={"event_type": "TOLARIA_EPOCH_COMPLETED", "field": "val_loss"},
        by=("job", "instance"),
        domain="tolaria",
        severity="critical",
        concern="host_loss",
        summary='The loss of a host of {{ $labels.instance }} was NaN or infinite {{ $value | printf "%.0f" }} time(s)',
        reason="A loss is never NaN in a healthy host; one is enough.",
        meaning="The host's loss was not finite. The gauge of the loss is not exported then, only this count.",
        look=(metric("esper.telemetry.nonfinite"), metric("tolaria.rollbacks")),
        sql=text("""
            SELECT timestamp, env_id, inner_epoch, val_loss, host_train_loss FROM tolaria_epochs WHERE NOT
            isfinite(val_loss) OR NOT isfinite(host_train_loss) ORDER BY timestamp DESC LIMIT 20
        """),
        act="Take the steps of TolariaRollback; if no rollback followed, the governor is off or has no snapshot.",
    ),
    Alert(
        name="TolariaPlateau",
        domain="tolaria",
        severity="info",
        concern="trend",
        expr=share(metric("simic.plateaus"), metric("tolaria.batches"), _PLATEAU, over="2h"),
        share=_PLATEAU,
        hold="10m",
        summary="{{ $value | humanizePercentage }} of the rounds of {{ $labels.instance }} in 2 h were on a plateau",
        reason=text("""
            The detector compares the rolling accuracy of two rounds, and a run that learns stands still between two
            steps: of good demonstrations up to half of the first rounds are detected. Three quarters of at least 40
            rounds is a run that stopped.
        """),
        meaning="Accuracy no longer changes from round to round.",
        look=(metric("tolaria.rolling_accuracy"), metric("simic.batch_accuracy")),
        sql=text("""
            SELECT timestamp, batch_idx, rolling_avg_accuracy, prev_rolling_avg_accuracy FROM plateau_detected ORDER BY
            timestamp DESC LIMIT 20
        """),
        act="Do nothing if the accuracy is good enough; otherwise consider ending the run.",
        fires={series("tolaria.batches"): "0+1x400", series("simic.plateaus"): "0x40 0+1x360"},
        quiet={series("tolaria.batches"): "0+2x400", series("simic.plateaus"): "0+1x400"},
    ),
    on_count(
        "SimicPerformanceDegraded",
        "simic.performance_degradations",
        labels={},
        sample={},
        domain="simic",
        severity="warning",
        concern="trend",
        summary=text("""
            Accuracy of {{ $labels.instance }} fell far below its rolling mean {{ $value | printf "%.0f" }} time(s)
        """),
        reason="The detector's limit is relative and grows stricter with the progress of the run.",
        meaning="The accuracy of a batch was far below the rolling mean.",
        look=(metric("simic.accuracy_drop"), metric("tolaria.avg_accuracy"), metric("tolaria.rolling_accuracy")),
        sql=text("""
            SELECT timestamp, env_id, current_acc, rolling_avg_acc, drop_percent, threshold_percent FROM
            performance_degradation ORDER BY timestamp DESC LIMIT 20
        """),
        act="Look for rollbacks and prunes in that round, then for a change of the action mix.",
    ),
    Alert(
        name="TolariaInputBound",
        domain="tolaria",
        severity="warning",
        concern="throughput",
        expr=f"avg by ({_BY}) (avg_over_time({metric('tamiyo.dataloader_wait_fraction')}[15m])) > 0.5",
        hold="10m",
        summary="{{ $labels.instance }} waits for data {{ $value | humanizePercentage }} of the time",
        reason="esper-lite's screens turn red at a wait of 50 %.",
        meaning="Steps wait for the data loader more than they compute.",
        look=(metric("tamiyo.dataloader_wait_fraction"), metric("tolaria.steps_rate")),
        act="Give the loader more workers or a faster disk; check the CPU time of the process.",
        fires={series("tamiyo.dataloader_wait_fraction"): "0.2x40 0.8x300"},
        quiet={series("tamiyo.dataloader_wait_fraction"): "0.2x100 0.9x10 0.2x300"},
    ),
)

_IN_STAGE = metric("kasmina.seed_state", stage="~GERMINATED|TRAINING|BLENDING|HOLDING")
_SLOT: Final = (*ARM, "env_id", "slot")
_BY_SLOT: Final = ", ".join(_SLOT)
_GERMINATED: Final = series("kasmina.germinations", blueprint="mlp")

_STUCK_EPOCHS: Final = 50

_KASMINA = (
    Alert(
        name="KasminaSeedStuck",
        domain="kasmina",
        severity="warning",
        concern="seeds",
        expr=f"count by ({_BY}) (\n"
        f"    (max by ({_BY_SLOT}) ({metric('kasmina.seed_epochs_in_stage')}) > {_STUCK_EPOCHS})\n"
        f"  and on ({_BY_SLOT})\n    ({_IN_STAGE} == 1)\n)",
        hold="5m",
        summary=text(f"""
            {{{{ $value }}}} seed(s) of {{{{ $labels.instance }}}} are in one stage for more than {_STUCK_EPOCHS} epochs
        """),
        reason=text("""
            An episode of esper-lite has 75 to 150 epochs and a stage of the recorded runs at most 9; 50 epochs leave no
            time for the stages that follow.
        """),
        meaning="A living seed does not advance: it holds a slot and pays rent.",
        look=(metric("kasmina.seed_epochs_in_stage"), metric("kasmina.seed_alpha"), metric("kasmina.gate_evaluations")),
        sql=text(f"""
            SELECT timestamp, env_id, slot, blueprint_id, stage, epochs_in_stage FROM tolaria_epochs_by_slot WHERE
            epochs_in_stage > {_STUCK_EPOCHS} ORDER BY timestamp DESC LIMIT 20
        """),
        act=text("""
            Check which gate blocks it (`kasmina_gate_evaluations_total` with passed=false, SEED_GATE_EVALUATED in the
            log); a policy that only waits shows in `tamiyo_op_distribution`.
        """),
        fires={
            series("kasmina.seed_epochs_in_stage"): "1+1x400",
            series("kasmina.seed_state", stage="TRAINING"): "1x400",
        },
        quiet={
            series("kasmina.seed_epochs_in_stage"): "1+1x400",
            series("kasmina.seed_state", stage="TRAINING"): "0x400",
            series("kasmina.seed_state", stage="FOSSILIZED"): "1x400",
        },
    ),
    Alert(
        name="KasminaPruneStorm",
        domain="kasmina",
        severity="warning",
        concern="seeds",
        expr=share(metric("kasmina.prunes"), metric("kasmina.germinations"), _PRUNED, over="1h"),
        share=_PRUNED,
        hold="10m",
        summary=text("""
            {{ $value | humanizePercentage }} as many seeds of {{ $labels.instance }} were pruned in 1 h as germinated
        """),
        reason=text("""
            In the recorded runs 77 to 100 % of 5 to 22 seeds were pruned by an untrained policy; 95 % of at least 40 is
            a policy that plants in order to prune.
        """),
        meaning="Nearly every seed that is planted is thrown away.",
        look=(
            f"sum by (initiator) (increase({metric('kasmina.prunes')}[1h]))",
            f"sum by (blueprint) (increase({metric('kasmina.germinations')}[1h]))",
        ),
        sql="SELECT initiator, reason, count(*) AS seeds FROM seed_pruned GROUP BY ALL ORDER BY seeds DESC",
        act=text("""
            The initiator says whether the policy, the governor or the rules prune; see the reward components of PRUNE.
        """),
        fires={
            _GERMINATED: "0+1x400",
            series("kasmina.prunes", initiator="policy", blueprint="mlp"): "0x3 0+1x396",
        },
        quiet={_GERMINATED: "0+2x400", series("kasmina.prunes", initiator="policy", blueprint="mlp"): "0+1x400"},
    ),
    Alert(
        name="KasminaYieldLow",
        domain="kasmina",
        severity="info",
        concern="seeds",
        expr=f"(\n  (sum by ({_BY}) (increase({metric('kasmina.fossilizations')}[6h]))"
        f" or 0 * sum by ({_BY}) ({metric('kasmina.germinations')}))\n"
        f"    / sum by ({_BY}) (increase({metric('kasmina.germinations')}[6h]))\n) < 0.05\n"
        f"and sum by ({_BY}) (increase({metric('kasmina.germinations')}[6h])) >= 100",
        hold="30m",
        summary="{{ $value | humanizePercentage }} of the seeds of {{ $labels.instance }} became permanent in 6 h",
        reason=text("""
            esper-lite's health page warns below 0.2 for a trained policy; an untrained one makes none permanent (all
            recorded runs), so the alert requires less than one in twenty of at least 100 seeds.
        """),
        meaning="Hardly any seed becomes a permanent part of a host.",
        look=(
            f"sum by (gate, passed) (increase({metric('kasmina.gate_evaluations')}[1h]))",
            f"sum by (from_stage, to_stage) (increase({metric('kasmina.stage_changes')}[1h]))",
        ),
        sql="SELECT gate, passed, count(*) AS times FROM gates GROUP BY ALL ORDER BY times DESC",
        act="Check at which stage seeds end; compare `kasmina_seed_contribution` with the rent they pay.",
        fires={_GERMINATED: "0+1x400", series("kasmina.fossilizations", blueprint="mlp"): "0x400"},
        quiet={_GERMINATED: "0+1x400", series("kasmina.fossilizations", blueprint="mlp"): "0 0 0 0+1x100 100x296"},
        at=80,
    ),
    Alert(
        name="KasminaSeedGradientsExploding",
        domain="kasmina",
        severity="warning",
        concern="seed_gradients",
        expr=f"count by ({_BY}) (max by ({_BY_SLOT}) ({metric('kasmina.seed_exploding')}) == 1)",
        hold="5m",
        summary="The gradients of {{ $value }} seed(s) of {{ $labels.instance }} explode",
        reason="One epoch may explode while a seed is blended in; 5 min are several epochs.",
        meaning="The gradients inside a seed stay far too large.",
        look=(metric("kasmina.seed_grad_norm"), metric("kasmina.seed_alpha")),
        act="Check which blueprint it is; the usual cause is a high alpha target reached too fast.",
        fires={series("kasmina.seed_exploding"): "0x100 1x300"},
        quiet={series("kasmina.seed_exploding"): "0x210 1x6 0x200"},
    ),
    on_count(
        "SimicRewardHackingSuspected",
        "simic.reward_hacking_suspicions",
        labels={},
        sample={"pattern": "attribution_ratio"},
        domain="simic",
        severity="warning",
        concern="reward",
        summary='{{ $value | printf "%.0f" }} seed(s) of {{ $labels.instance }} collect reward without helping',
        reason="Two rules of esper-lite: credit far above the improvement, and credit while the host gets worse.",
        meaning="A seed is credited with accuracy that the host does not show.",
        look=(
            f"sum by (pattern) (increase({metric('simic.reward_hacking_suspicions')}[1h]))",
            metric("simic.shaped_reward_fraction"),
        ),
        sql=text("""
            SELECT timestamp, pattern, env_id, slot_id, seed_contribution, total_improvement, ratio, threshold FROM
            reward_hacking_suspected ORDER BY timestamp DESC LIMIT 20
        """),
        act="Read REWARD_HACKING_SUSPECTED in the log; prune the seed or change the reward mode.",
    ),
)

ALERTS: Final = (*_TOLARIA, *_KASMINA)
