"""Every task's settings, checked by building what takes them: ``check(cfg)`` of the module named after the task.

`seqkd.config.compose` calls it, before anything runs. ``builder(model)`` is the function that builds the model of some
settings, or None: it tells which keys those settings may have.
"""
