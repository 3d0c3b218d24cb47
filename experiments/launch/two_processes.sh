#!/usr/bin/env bash
# `lupi` as plain processes on this machine, to do what several hosts do.
#
#     PROCESSES=2 experiments/launch/two_processes.sh train --config configs/folder.py \
#         --config.data.root=DATA --workdir runs/folder
#
# Needs: bash >= 4.4, python3 and `lupi` on PATH. Uses CPU devices unless JAX_PLATFORMS says otherwise.
# The script passes SIGTERM and Ctrl-C on: the processes save and end with 75. If one process fails,
# the script kills the others and returns the first failure's exit status.
#
# Run: bash 5.2, JAX 0.10.2, two processes. Not run: GPUs, an older bash.
set -u
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
processes=${PROCESSES:-2}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')

running=()
for ((i = 0; i < processes; i++)); do
    lupi "$@" --coordinator "127.0.0.1:$port" --processes "$processes" --process "$i" &
    running+=($!)
done
signal_all() { kill "-$1" "${running[@]}" 2>/dev/null; }
trap 'signal_all TERM' TERM INT

status=0
while ((${#running[@]} > 0)); do
    sleep 0.5
    for i in "${!running[@]}"; do
        kill -0 "${running[i]}" 2>/dev/null && continue
        wait "${running[i]}"
        code=$?
        unset "running[i]"
        ((status != 0)) || status=$code
        # After 0 and 75 the others are ending too. After anything else they wait for the dead process.
        ((code == 0 || code == 75)) || signal_all KILL
    done
done
exit "$status"
