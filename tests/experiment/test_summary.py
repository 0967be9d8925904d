"""What the end of a run prints of its RESULTS.md."""

from seqkd.experiment.summary import for_terminal, short_table

TEXT = """# A recipe

| System | Parameters | Seeds | test, WER % | All, WER % [95 %] | S / D / I % | Lead kept | Minutes a seed |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| Teacher | 241 k | 1 | 0.43 | **0.75** [0.59, 0.90] | – | 100 % | 11.2 |
| Student | 77 k | 3 | 2.84 | **3.67** [3.36, 3.99] | – | 0 % | 2.0 |

Some words.

## What the tables show

- **Student** is worse.

## Settings

| a | b |
"""


def test_a_few_columns():
    assert short_table(TEXT)[0] == ["System", "Parameters", "Seeds", "All, WER % [95 %]", "Lead kept"]
    assert for_terminal(TEXT).splitlines() == [
        "System   Parameters  Seeds  All, WER % [95 %]  Lead kept",
        "Teacher       241 k      1  0.75 [0.59, 0.90]      100 %",
        "Student        77 k      3  3.67 [3.36, 3.99]        0 %",
        "",
        "- Student is worse.",
    ]


def test_without_a_table():
    assert short_table("# Nothing yet\n") == []
    assert for_terminal("# Nothing yet\n") == ""
