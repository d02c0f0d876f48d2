"""Programs that a batch script calls by name, as the twin's compute nodes have them: ``srun`` and ``podman-hpc``.

Belongs here: what they accept, refuse and pass on. Standard library only: they run for every step of every job.
Does not: the job that calls them (scheduler.local), or the ``tomography`` program in the container.
"""
