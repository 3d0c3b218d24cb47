"""What happens to files and to people's patience when something goes wrong.

    python -m experiments.faults table --workdir runs/faults      # commands x faults
    python -m experiments.faults kills --workdir runs/faults      # 100 kills of all that writes
    python -m experiments.faults training --workdir runs/faults --processes 2

`table` runs every command under every fault that concerns it: full disks, closed pipes, hostile
files, odd names, settings of libraries that cannot be. `kills` ends every command that writes at
moments drawn at random. `training` kills one long run, of one process or several, again and again.
Each writes what was expected and what happened into `experiments/results`.
"""
