"""The search: study, rungs, race, verdict, executor; tells a tracker what happens."""
