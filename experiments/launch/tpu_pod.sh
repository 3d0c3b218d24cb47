#!/usr/bin/env bash
# `lupi train` on a Cloud TPU pod slice of spot VMs, from your own machine, until it has ended.
#
#     export TPU=lupi ZONE=us-east5-b TYPE=v6e-32 VERSION=v2-alpha-tpuv6e
#     export SETUP='sudo mkdir -p /shared && sudo mount 10.0.0.2:/share /shared'
#     export LUPI=/shared/env/bin/lupi
#     experiments/launch/tpu_pod.sh --config=/shared/lupi_jax/configs/sysu.py \
#         --config.data.root=/shared/SYSU-MM01 --workdir=/shared/runs/sysu
#
# SETUP runs on each host of a new slice. LUPI is the command on the hosts, here in an environment on
# the shared disk with `lupi-jax[data]` and `jax[tpu]`, which needs Python >= 3.11.
#
# Needs: gcloud with a project, and the key that its `ssh` makes. The script deletes a pre-empted
# slice, creates a new one and resumes. Ctrl-C here leaves the hosts training. To stop the run, stop
# this script first, because it restarts a run that ends with 75. Then type
# `pkill -TERM -f 'lupi train'` on the hosts.
#
# Run: its branches, with a stand-in for gcloud. Not run: a TPU, gcloud, a pre-emption. If a
# pre-emption leaves no time to save, the run resumes from the last checkpoint of
# `log.checkpoint_every`.
set -u
tpu_vm() { gcloud compute tpus tpu-vm "$@" --zone="$ZONE" --quiet; }
on_all_hosts() { tpu_vm ssh "$TPU" --worker=all --command="$1"; }
state() { tpu_vm describe "$TPU" --format='value(state)'; }
create() { tpu_vm create "$TPU" --accelerator-type="$TYPE" --version="$VERSION" --spot; }

if ! state >/dev/null 2>&1; then
    create && on_all_hosts "$SETUP" || exit
fi
while true; do
    on_all_hosts "$LUPI train $(printf '%q ' "$@")"
    status=$?
    ((status != 0)) || exit 0
    if [[ $(state) == PREEMPTED ]]; then # a spot slice does not come back by itself
        tpu_vm delete "$TPU"
        until create; do sleep 60; done # there may be no capacity
        on_all_hosts "$SETUP" || exit
    elif ((status != 75)); then
        exit "$status"
    fi
done
