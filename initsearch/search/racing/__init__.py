"""From the end of the search to the end of the race: who enters, what the race can decide, and its blocks.

The statistics are in `initsearch.race`; this room feeds them. Begin reading at `shortlist`, then `race_runner`;
`race_plan` reports before the race what its seeds and margin can show.
"""
