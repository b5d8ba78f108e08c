"""Reports of tables: what a report wrote down is enough for the next one, alone or beside runs of one's own."""

import re
from pathlib import Path

import pytest

from cpc_rl.evaluation.cli_report import ReportArguments, run
from cpc_rl.evaluation.report import as_dict, default_place, write_report
from cpc_rl.evaluation.sources import find_sources, read_source, read_sources
from cpc_rl.evaluation.suite_report import write_suite_report
from cpc_rl.evaluation.tidy_table import write_table
from tests.evaluation.folders import ENV, make_arm, make_run
from tests.evaluation.test_eval_logs import log_arms

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "pixel_control"
NONE, CURL = (10.0, 12.0, 9.0, 11.3), (20.0, 21.0, 26.5, 19.0)
HEADER = "env,algorithm,arm,seed,status,evaluation,timesteps,mean_return,std_return,episodes,wall_seconds\n"


def test_a_table_gives_the_same_report(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", NONE)
    make_arm(tmp_path, "curl", CURL)
    make_run(tmp_path, "curl", 4, [0.1, 1 / 3])
    first = write_report(tmp_path / ENV, repetitions=300)
    table = tmp_path / ENV / "report" / "runs.csv"
    again = write_report(table, tmp_path / "again", repetitions=300)
    runs = read_source(tmp_path / ENV)
    assert as_dict(again, runs) == as_dict(first, runs)
    assert (tmp_path / "again" / "runs.csv").read_text() == table.read_text()
    assert "All runs are known by tables alone (`runs.csv`)" in (tmp_path / "again" / "report.md").read_text()


def test_logs_without_times_or_finals_stay_what_they_are(tmp_path: Path) -> None:
    log_arms(tmp_path / ENV, "{arm}/seed-{number}", none=NONE, cpc=CURL)
    first = write_report(tmp_path / ENV, repetitions=300)
    table = tmp_path / ENV / "report" / "runs.csv"
    again = write_report(table, tmp_path / "again", repetitions=300)
    runs = read_source(table)
    assert as_dict(again, runs) == as_dict(first, runs) and not any(each.own_final for each in runs)


def test_beside_runs_of_ones_own(tmp_path: Path) -> None:
    make_arm(tmp_path / "theirs", "none", NONE)
    make_arm(tmp_path / "theirs", "curl", CURL)
    write_report(tmp_path / "theirs" / ENV, tmp_path / "published", repetitions=10)
    table = tmp_path / "published" / "runs.csv"
    make_arm(tmp_path / "own", "none", (5.0, 6.0))  # seeds 0 and 1 are in both
    make_arm(tmp_path / "own", "cpc", (30.0, 31.0))
    run(ReportArguments((tmp_path / "own", table), out=tmp_path / "both", repetitions=50))
    (runs,) = read_sources([table, tmp_path / "own" / ENV]).values()
    assert [(each.arm, each.seed, each.final["mean_return"]) for each in runs] == [
        *(("none", seed, end) for seed, end in enumerate((5.0, 6.0, *NONE[2:]))),
        *(("cpc", seed, end) for seed, end in enumerate((30.0, 31.0))),
        *(("curl", seed, end) for seed, end in enumerate(CURL)),
    ]
    text = (tmp_path / "both" / "report.md").read_text()
    assert "6 of 10 runs are known by tables alone" in text
    assert "2 of 10 runs are in `runs.csv` as well, and counted once, as their own folders have them." in text
    assert default_place([table, tmp_path / "own" / ENV]) == tmp_path / "own" / ENV / "report"


def test_the_same_run_twice(tmp_path: Path) -> None:
    make_arm(tmp_path / "a", "none", NONE)
    make_arm(tmp_path / "b", "none", NONE)
    places = [tmp_path / name / ENV for name in "ab"]
    for place in places:
        write_report(place, repetitions=10)
    with pytest.raises(ValueError, match=r"Both .*a/Toy-v0.* and .*b/Toy-v0.* hold ppo-none with seed 0 on Toy-v0; give one"):
        read_sources(places)
    with pytest.raises(ValueError, match=r"Both .*a/.*runs.csv and .*b/.*runs.csv hold ppo-none with seed 0"):
        read_sources([place / "report" / "runs.csv" for place in places])
    table = places[0] / "report" / "runs.csv"
    before = table.read_text()
    with pytest.raises(ValueError, match=r"runs.csv is a table that is read, and a report in .* would replace it"):
        write_report(table, table.parent, repetitions=10)
    make_arm(tmp_path / "c", "cpc", NONE)
    with pytest.raises(ValueError, match="would replace it"):  # also where none of its runs is asked for
        run(ReportArguments((tmp_path / "c", table), out=table.parent, arms=("cpc",), repetitions=10))
    assert table.read_text() == before
    with pytest.raises(ValueError, match="several places, so say with --out"):
        default_place(places)


def test_folders_of_tables(tmp_path: Path) -> None:
    for env in ("A", "B"):
        make_run(tmp_path / "runs", "none", 0, [0.0, 1.0], final=1.0, env=env)
    scale = tmp_path / "scale.csv"
    scale.write_text("task,low,high\n*,0,1\n")
    write_suite_report(find_sources(tmp_path / "runs"), tmp_path / "out", normalise=str(scale), repetitions=10)
    tables = [tmp_path / "out" / "runs" / f"{env}.csv" for env in ("A", "B")]
    assert find_sources(tmp_path / "out" / "runs") == tables and find_sources(tables[0]) == tables[:1]
    with pytest.raises(ValueError, match="holds no runs"):
        find_sources(tmp_path / "out")  # scores.csv is no such table
    with pytest.raises(ValueError, match=r"scores.csv is no table of runs; such a one is"):
        find_sources(tmp_path / "out" / "scores.csv")
    with pytest.raises(ValueError, match="several environments: A, B"):
        write_report(tables)
    both = tmp_path / "both.csv"  # one table of both
    both.write_text(tables[0].read_text() + "".join(tables[1].read_text().splitlines(keepends=True)[1:]))
    assert list(read_sources([both])) == ["A", "B"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Toy-v0,ppo,none,zero,finished,final,0,1,1,5,1", r"Line 2 of .*t.csv should hold env, .*are numbers"),
        ("Toy-v0,ppo,none,0,finished,final,0,,1,5,1", r"Line 2 of .*are numbers"),
        ("Toy-v0,ppo,none,0,finished", r"Line 2 of .*are numbers"),
        ("Toy-v0,ppo,none,0,done,final,0,1,1,5,1", r"status of finished, unfinished, failed .* it has 'done' and 'final'"),
        ("Toy-v0,ppo,none,0,finished,last,0,1,1,5,1", r"evaluation of periodic, final, none; it has 'finished' and 'last'"),
        ("Toy-v0,ppo,none,0,finished,none,,,,,", r"calls ppo-none seed 0 on Toy-v0 finished, and has no evaluation"),
        ("", "holds no runs"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(HEADER + row)
    with pytest.raises(ValueError, match=message):
        read_sources(find_sources(tmp_path / "t.csv"))


def test_a_run_that_failed_and_one_with_a_return_that_is_no_number(tmp_path: Path) -> None:
    rows = ["Toy-v0,ppo,none,0,failed,none,,,,,", "Toy-v0,ppo,none,1,finished,final,100,nan,1,5,"]
    (tmp_path / "t.csv").write_text(HEADER + "\n".join(rows))
    assert [(each.status, each.rows) for each in read_source(tmp_path / "t.csv")] == [("failed", ()), ("failed", ())]
    write_table(tmp_path / "u.csv", read_source(tmp_path / "t.csv"))
    assert (tmp_path / "u.csv").read_text().splitlines()[2] == "Toy-v0,ppo,none,1,failed,final,,nan,1,5,"


REPORTS = [
    ("report.md", "scores.csv", ("none", "aug", "compute", "cpc")),
    (
        "report-augmented.md",
        "scores-augmented.csv",
        (
            "none",
            "aug",
            "compute",
            "cpc",
            "atc",
            "curl",
            "taco",
            "spr",
            "aug+cpc",
            "aug+atc",
            "aug+curl",
            "aug+taco",
            "aug+spr",
        ),
    ),
    ("report-objectives.md", "scores-objectives.csv", ("none", "compute", "curl", "atc", "taco", "cpc", "shuffled+cpc")),
]


@pytest.mark.parametrize(("report", "scores", "arms"), REPORTS)
def test_committed_results_are_those_of_the_committed_tables(
    tmp_path: Path, report: str, scores: str, arms: tuple[str, ...]
) -> None:
    """The scores, and the p-values and probabilities of improvement of all that the report says."""
    tasks = sorted({line.split(",")[0] for line in (RESULTS / scores).read_text().splitlines()[1:]})
    tables = [RESULTS / "evaluations" / f"{task}.csv" for task in tasks]
    (comparison,) = write_suite_report(tables, tmp_path, arms=arms, threshold=0.5, repetitions=100, compact=True)
    assert sorted((tmp_path / "scores.csv").read_text().splitlines()) == sorted((RESULTS / scores).read_text().splitlines())
    said = dict(
        re.findall(
            r"^- (`\S+` over `\S+`), mean score over the training .*, probability of improvement .*, p = (\S+)\.$",
            (RESULTS / report).read_text(),
            re.MULTILINE,
        )
    )
    assert len(said) >= 2
    for pair in comparison.pairs:
        key = f"`{pair.arm.arm}` over `{pair.over.arm}`"
        if pair.measure == "area" and key in said:
            assert f"{pair.p_value:.2g}" == said.pop(key)
    assert not said


def test_tables_that_a_spreadsheet_wrote(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", NONE)
    write_report(tmp_path / ENV, repetitions=10)
    table = tmp_path / ENV / "report" / "runs.csv"
    edited = tmp_path / "edited.CSV"
    lines = [f"{line},a remark" for line in table.read_text().splitlines()]
    lines[0] = lines[0].replace("a remark", "remarks")
    edited.write_text("\ufeff" + "\r\n".join([*lines, "," * 11]) + "\r\n", encoding="utf-8")
    told = [[(each.arm, each.seed, each.rows, each.final) for each in read_source(place)] for place in (table, edited)]
    assert find_sources(edited) == [edited] and told[0] == told[1]
