"""The jobs of a study: made from candidates and blocks, run once, kept on disk.

`JobMaker` says what to train, `JobBook` runs it and remembers the result, so that a study resumes. Begin
reading at `job_book`; `clock` and `time_limits` measure and bound the time.
"""
